"""Discord: the only package that imports discord.py. `bot.service` inside it must not."""
