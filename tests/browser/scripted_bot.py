"""A small discord.py bot for the page's tests: one command for each thing the page must be able to show.

Its job pauses where the test says (`go`), so that every state can be looked at without a clock.
"""

from __future__ import annotations

import asyncio
import io

import discord
from discord import app_commands
from PIL import Image

GRID = (("U1", "U2", "U3", "U4", "🔄"), ("V1", "V2", "V3", "V4"))


def picture(colour: str, side: int = 128) -> discord.File:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(buffer, "PNG")
    buffer.seek(0)
    return discord.File(buffer, f"{colour}.png")


def grid_buttons() -> discord.ui.View:
    view = discord.ui.View(timeout=None)
    for row, labels in enumerate(GRID):
        for label in labels:
            face = {"emoji": label} if label == "🔄" else {"label": label}
            view.add_item(discord.ui.Button(**face, custom_id=label, row=row))
    return view


class Remix(discord.ui.Modal, title="Remix"):
    prompt = discord.ui.Label(text="New prompt", component=discord.ui.TextInput(custom_id="prompt", default="a pear"))
    mask = discord.ui.Label(text="Mask", component=discord.ui.FileUpload(custom_id="mask", required=False))

    async def on_submit(self, interaction: discord.Interaction) -> None:
        names = [file.filename for file in self.mask.component.values]
        await interaction.response.send_message(f"remixed: {self.prompt.component.value} {names}", ephemeral=True)


class ScriptedBot(discord.Client):
    """`go`: releases the job's next stage. `online`: set when the commands are registered and the gateway is ready."""

    def __init__(self) -> None:
        super().__init__(intents=discord.Intents.default())
        self.tree = app_commands.CommandTree(self)
        self.go: asyncio.Queue[None] = asyncio.Queue()
        self.online = asyncio.Event()
        _register(self)

    async def setup_hook(self) -> None:
        # discord.py else waits two seconds for more guilds.
        self._connection.guild_ready_timeout = 0.05
        await self.tree.sync()

    async def on_ready(self) -> None:
        self.online.set()

    async def on_interaction(self, interaction: discord.Interaction) -> None:
        if interaction.type is not discord.InteractionType.component:
            return
        pressed = interaction.data["custom_id"]
        if pressed.startswith("U"):
            await interaction.response.defer()
            text = f"**an apple** - Image #{pressed[1]} {interaction.user.mention}"
            await interaction.channel.send(text, file=picture("teal"), reference=interaction.message)
        elif pressed == "🔄":
            await interaction.response.send_modal(Remix())
        # V1 to V4 are never answered: what the page then says is tested.

    async def draw(self, interaction: discord.Interaction, prompt: str) -> None:
        """A job: waiting text, two previews, then the grid as a new message."""
        echo = f"**{discord.utils.escape_markdown(prompt)}** - {interaction.user.mention}"
        await interaction.response.send_message(f"{echo} (Waiting to start)\n-# place 1 · 4 credits")
        waiting = await interaction.original_response()
        for percent, colour in ((46, "navy"), (93, "maroon")):
            await self.go.get()
            await waiting.edit(content=f"{echo} ({percent}%) (fast)", attachments=[picture(colour, 64)])
        await self.go.get()
        text = f"{echo} (fast)\n-# seed 7 · 4 credits · 96 left"
        await interaction.channel.send(text, file=picture("green", 256), view=grid_buttons())
        await waiting.delete()


def _register(bot: ScriptedBot) -> None:
    @bot.tree.command(description="Draw four pictures")
    @app_commands.describe(prompt="What to draw")
    async def imagine(interaction: discord.Interaction, prompt: str) -> None:
        await bot.draw(interaction, prompt)

    @bot.tree.command(description="Vary an uploaded picture")
    async def vary(
        interaction: discord.Interaction, image: discord.Attachment, strength: app_commands.Range[int, 1, 100] = 50
    ) -> None:
        await interaction.response.defer(ephemeral=True)
        await interaction.followup.send(f"read {len(await image.read())} bytes of {image.filename} at {strength}")

    @bot.tree.command(description="Your account")
    async def info(interaction: discord.Interaction) -> None:
        embed = discord.Embed(title="Your account", description="**96** credits", color=0x5C67F2)
        embed.set_footer(text="tiny")
        await interaction.response.send_message(embed=embed, ephemeral=True)

    @bot.tree.command(description="Draw where nobody else looks")
    async def stealth(interaction: discord.Interaction) -> None:
        thread = await interaction.channel.create_thread(name="Stealth", invitable=False)
        await thread.add_user(interaction.user)
        await thread.send("just for you", view=grid_buttons())
        await interaction.response.send_message(f"Your pictures are in {thread.mention}", ephemeral=True)

    @bot.tree.command(description="Break a rule of Discord")
    async def misbehave(interaction: discord.Interaction) -> None:
        await interaction.response.send_message("watch this", ephemeral=True)
        try:
            await interaction.channel.send("x" * 2001)
        except discord.HTTPException:
            return

    @bot.tree.context_menu(name="Cancel Job")
    async def cancel_job(interaction: discord.Interaction, message: discord.Message) -> None:
        await interaction.response.send_message(f"cancelled {message.id}", ephemeral=True)

    bot.tree.add_command(_admin_commands())


def _admin_commands() -> app_commands.Group:
    permissions = discord.Permissions(manage_guild=True)
    admin = app_commands.Group(name="admin", description="For admins", default_permissions=permissions)
    credits_group = app_commands.Group(name="credits", description="Credits", parent=admin)
    models = app_commands.Group(name="models", description="Models", parent=admin)

    @credits_group.command(description="Give credits")
    async def grant(interaction: discord.Interaction, member: discord.Member, amount: int) -> None:
        await interaction.response.send_message(f"{member.mention} got {amount}", ephemeral=True)

    @models.command(description="Choose the default model")
    async def default(interaction: discord.Interaction, model: str) -> None:
        await interaction.response.send_message(f"default is {model}", ephemeral=True)

    @default.autocomplete("model")
    async def models_like(_: discord.Interaction, typed: str) -> list[app_commands.Choice[str]]:
        known = {"Tiny (embedded)": "tiny", "SDXL base": "sdxl"}
        return [app_commands.Choice(name=name, value=key) for name, key in known.items() if typed.lower() in key]

    return admin
