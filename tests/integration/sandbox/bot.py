"""The bot under test: an unmodified discord.py client with every kind of command and component."""

import asyncio
import io

import discord
from discord import app_commands
from PIL import Image

from sandbox.world import ART_ID


def picture(width: int = 6, height: int = 4) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(buffer, "PNG")
    return buffer.getvalue()


def png(name: str = "grid.png", width: int = 6, height: int = 4) -> discord.File:
    return discord.File(io.BytesIO(picture(width, height)), name)


class Form(discord.ui.Modal, title="Repaint"):
    words = discord.ui.Label(text="What to draw", component=discord.ui.TextInput(custom_id="words", max_length=50))
    mask = discord.ui.Label(text="Mask", component=discord.ui.FileUpload(custom_id="mask", required=False))

    async def on_submit(self, interaction: discord.Interaction) -> None:
        sizes = [len(await file.read()) for file in self.mask.component.values]
        await interaction.response.send_message(f"{self.words.component.value} {sizes}", ephemeral=True)


class Buttons(discord.ui.View):
    def __init__(self) -> None:
        super().__init__(timeout=None)
        self.add_item(discord.ui.Button(label="Web", url="https://example.org"))

    @discord.ui.button(label="U1", custom_id="u1")
    async def upscale(self, interaction: discord.Interaction, button: discord.ui.Button) -> None:
        await interaction.response.defer()
        await interaction.followup.send(f"Image #1 {interaction.user.mention}", file=png("one.png"))

    @discord.ui.button(label="Edit", custom_id="edit")
    async def edit(self, interaction: discord.Interaction, button: discord.ui.Button) -> None:
        await interaction.response.send_modal(Form())

    @discord.ui.button(label="Update", custom_id="update")
    async def update(self, interaction: discord.Interaction, button: discord.ui.Button) -> None:
        await interaction.response.edit_message(content="updated", view=None)

    @discord.ui.button(label="Off", custom_id="off", disabled=True)
    async def off(self, interaction: discord.Interaction, button: discord.ui.Button) -> None: ...


class Bot(discord.Client):
    """The client under test: as a bot would be written, nothing of it is patched but the two addresses."""

    def __init__(self, intents: discord.Intents) -> None:
        super().__init__(intents=intents, guild_ready_timeout=0.05)
        self.tree = app_commands.CommandTree(self)
        self.ready = asyncio.Event()
        self.resumed = asyncio.Event()
        self.seen: asyncio.Queue[discord.Message] = asyncio.Queue()
        self.reactions: asyncio.Queue[discord.RawReactionActionEvent] = asyncio.Queue()
        self.held: asyncio.Queue[discord.Interaction] = asyncio.Queue()
        add_commands(self)

    async def setup_hook(self) -> None:
        await self.tree.sync()

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        """Without the five seconds that discord.py waits between identifies."""

    async def on_ready(self) -> None:
        self.ready.set()

    async def on_resumed(self) -> None:
        self.resumed.set()

    async def on_message(self, message: discord.Message) -> None:
        await self.seen.put(message)

    async def on_raw_reaction_add(self, payload: discord.RawReactionActionEvent) -> None:
        await self.reactions.put(payload)


def add_commands(bot: Bot) -> None:
    tree = bot.tree

    @tree.command(description="Draw")
    async def imagine(interaction: discord.Interaction, prompt: str) -> None:
        await interaction.response.defer()
        await interaction.edit_original_response(
            content=f"**{prompt}**",
            attachments=[png()],
            view=Buttons(),
            allowed_mentions=discord.AllowedMentions.none(),
        )

    @tree.command(description="Answer only the caller")
    async def whisper(interaction: discord.Interaction) -> None:
        await interaction.response.send_message("psst", ephemeral=True)
        await interaction.followup.send("again", ephemeral=True)

    @tree.command(description="Leave the interaction to the test")
    async def hold(interaction: discord.Interaction) -> None:
        await bot.held.put(interaction)

    add_options(tree)
    add_groups(tree)


def add_options(tree: app_commands.CommandTree) -> None:
    @tree.command(description="All option types")
    @app_commands.choices(mode=[app_commands.Choice(name="Fast", value="fast")])
    async def everything(
        interaction: discord.Interaction,
        image: discord.Attachment,
        count: app_commands.Range[int, 1, 4],
        mode: app_commands.Choice[str],
        ratio: float,
        member: discord.Member,
        channel: discord.TextChannel,
        role: discord.Role,
        loud: bool = False,
    ) -> None:
        size = len(await image.read())
        text = (
            f"{size} {image.width}x{image.height} {count} {mode.value} {ratio} {member.name} {channel.name} {role.name}"
        )
        await interaction.response.send_message(f"{text} {loud}")

    @tree.command(description="With suggestions")
    async def suggest(interaction: discord.Interaction, flag: str) -> None:
        await interaction.response.send_message(flag)

    @suggest.autocomplete("flag")
    async def flags(interaction: discord.Interaction, current: str) -> list[app_commands.Choice[str]]:
        return [app_commands.Choice(name=f"{current}{end}", value=f"{current}{end}") for end in ("eed", "teps")]


def add_groups(tree: app_commands.CommandTree) -> None:
    admin = app_commands.Group(
        name="admin", description="Admins", default_permissions=discord.Permissions(manage_guild=True)
    )
    money = app_commands.Group(name="credits", description="Credits", parent=admin)

    @money.command(description="Give")
    async def grant(interaction: discord.Interaction, member: discord.User, amount: int) -> None:
        await interaction.response.send_message(f"{member.name} {amount}")

    tree.add_command(admin)

    @tree.context_menu(name="Cancel Job")
    async def cancel(interaction: discord.Interaction, message: discord.Message) -> None:
        await interaction.response.send_message(f"cancel {message.id} {message.content}", ephemeral=True)


def channel(bot: Bot, channel_id: str = ART_ID) -> discord.TextChannel:
    found = bot.get_channel(int(channel_id))
    assert isinstance(found, discord.TextChannel)
    return found
