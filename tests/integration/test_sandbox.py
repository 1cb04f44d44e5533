"""The local Discord against an unmodified discord.py client, over real sockets."""

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import discord
import pytest
import yarl
from discord import app_commands
from discord.gateway import DiscordWebSocket
from discord.http import Route
from PIL import Image

from sandbox.server import Sandbox
from sandbox.world import ADA_ID, ART_ID, BEA_ID, BOT_ID, CARL_ID, GENERAL_ID, GUILD_ID, PRIVATE_ID

SPEC = Path(__file__).parents[3] / "shared" / "discord_openapi.json"


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
            content=f"**{prompt}**", attachments=[png()], view=Buttons(), allowed_mentions=discord.AllowedMentions.none()
        )

    @tree.command(description="Answer only the caller")
    async def whisper(interaction: discord.Interaction) -> None:
        await interaction.response.send_message("psst", ephemeral=True)
        await interaction.followup.send("again", ephemeral=True)

    @tree.command(description="Leave the interaction to the test")
    async def hold(interaction: discord.Interaction) -> None:
        await bot.held.put(interaction)

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
        text = f"{size} {image.width}x{image.height} {count} {mode.value} {ratio} {member.name} {channel.name} {role.name}"
        await interaction.response.send_message(f"{text} {loud}")

    @tree.command(description="With suggestions")
    async def suggest(interaction: discord.Interaction, flag: str) -> None:
        await interaction.response.send_message(flag)

    @suggest.autocomplete("flag")
    async def flags(interaction: discord.Interaction, current: str) -> list[app_commands.Choice[str]]:
        return [app_commands.Choice(name=f"{current}{end}", value=f"{current}{end}") for end in ("eed", "teps")]

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


class People:
    """The human API as the page uses it."""

    def __init__(self, server: Sandbox, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.session = session

    async def post(self, path: str, expect: int = 201, **body: object) -> dict:
        async with self.session.post(f"{self.server.url}/human/{path}", json=body) as response:
            answer = await response.json()
            assert response.status == expect, answer
            return answer

    async def get(self, path: str, expect: int = 200, **query: str) -> dict:
        async with self.session.get(f"{self.server.url}/human/{path}", params=query) as response:
            answer = await response.json()
            assert response.status == expect, answer
            return answer

    async def finish(self, opened: dict) -> dict:
        return await self.get(f"interactions/{opened['interaction_id']}", wait="10")

    async def command(self, command: str, user: str = BEA_ID, channel: str = ART_ID, **options: object) -> dict:
        opened = await self.post("interactions", user=user, channel=channel, command=command, options=options)
        return await self.finish(opened)

    async def press(self, message: str, custom_id: str, user: str = BEA_ID, channel: str = ART_ID) -> dict:
        return await self.finish(
            await self.post("press", user=user, channel=channel, message=message, custom_id=custom_id)
        )

    async def messages(self, user: str = BEA_ID, channel: str = ART_ID) -> list[dict]:
        return (await self.get("messages", user=user, channel=channel))["messages"]


@pytest.fixture
async def server() -> AsyncIterator[Sandbox]:
    async with Sandbox(spec=SPEC if SPEC.exists() else None) as sandbox:
        yield sandbox


@pytest.fixture
async def people(server: Sandbox) -> AsyncIterator[People]:
    async with aiohttp.ClientSession() as session:
        yield People(server, session)


@pytest.fixture
def pointed(server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    monkeypatch.setattr(Route, "BASE", server.api_url)
    monkeypatch.setattr(DiscordWebSocket, "DEFAULT_GATEWAY", yarl.URL(server.gateway_url))
    return server


@pytest.fixture
async def bot(pointed: Sandbox) -> AsyncIterator[Bot]:
    client = Bot(discord.Intents.default())
    running = asyncio.create_task(client.start(pointed.token))
    async with asyncio.timeout(10):
        await client.ready.wait()
    yield client
    await client.close()
    await running


def channel(bot: Bot, channel_id: str = ART_ID) -> discord.TextChannel:
    found = bot.get_channel(int(channel_id))
    assert isinstance(found, discord.TextChannel)
    return found


async def test_login_gives_guild_members_and_application(bot: Bot, people: People) -> None:
    guild = bot.get_guild(int(GUILD_ID))
    assert bot.user.id == int(BOT_ID) and guild.name == "Limner Studio" and guild.owner_id == int(ADA_ID)
    assert {one.name for one in guild.text_channels} == {"general", "art", "private"}
    assert (await bot.application_info()).owner.id == int(ADA_ID)
    assert (await guild.fetch_member(int(CARL_ID))).name == "carl"
    assert (await bot.fetch_user(int(BEA_ID))).name == "bea"
    assert (await people.get("state"))["bot"] == {"id": BOT_ID, "username": "Limner", "online": True}


async def test_wrong_token_is_a_login_failure(pointed: Sandbox) -> None:
    async with Bot(discord.Intents.none()) as client:
        with pytest.raises(discord.LoginFailure):
            await client.login("not the token")


async def test_commands_are_registered_and_shown(bot: Bot, people: People) -> None:
    commands = {command["name"]: command for command in (await people.get("state"))["commands"]}
    assert commands["imagine"]["options"][0]["name"] == "prompt"
    assert commands["Cancel Job"]["type"] == 3
    ids = {command.name: command.id for command in await bot.tree.fetch_commands()}
    assert {command.name: command.id for command in await bot.tree.sync()} == ids


async def test_slash_defer_and_edit_with_file_shows_the_result(bot: Bot, people: People) -> None:
    done = await people.command("imagine", prompt="a fox")
    assert done["state"] == "answered" and done["acknowledged_ms"] < 3000 and done["ephemeral"] is False
    [message] = await people.messages()
    assert message["id"] == done["message_id"] and message["content"] == "**a fox**" and not message["thinking"]
    [attachment] = message["attachments"]
    assert (attachment["filename"], attachment["width"], attachment["height"]) == ("grid.png", 6, 4)
    async with people.session.get(attachment["url"]) as response:
        assert await response.read() == picture() and response.content_type == "image/png"
    assert message["interaction_metadata"]["user"]["id"] == BEA_ID
    assert people.server.violations == []


async def test_button_defers_and_follows_up(bot: Bot, people: People) -> None:
    grid = (await people.command("imagine", prompt="a fox"))["message_id"]
    done = await people.press(grid, "u1", user=CARL_ID)
    followup = done["messages"][-1]
    assert followup["content"] == f"Image #1 <@{CARL_ID}>"
    assert followup["attachments"][0]["filename"] == "one.png"
    assert followup["message_reference"]["message_id"] == grid
    assert people.server.violations == []
