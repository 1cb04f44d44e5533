"""Pixels: recipes in, pictures out. Knows no Discord and no database.

Importing this package, `recipe`, `events`, `errors` and `backend` costs no torch: the bot and its tests use those
names alone.
"""
