"""The local Discord against an unmodified discord.py client, over real sockets."""

import asyncio
import io
import json
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


async def test_every_option_type_arrives_with_its_value(bot: Bot, people: People) -> None:
    options = {
        "count": 3,
        "mode": "fast",
        "ratio": 1.5,
        "member": CARL_ID,
        "channel": GENERAL_ID,
        "role": GUILD_ID,
        "loud": True,
    }
    form = aiohttp.FormData()
    payload = {"user": BEA_ID, "channel": ART_ID, "command": "everything", "options": options}
    form.add_field("payload_json", json.dumps(payload), content_type="application/json")
    form.add_field("image", picture(9, 5), filename="in.png", content_type="image/png")
    async with people.session.post(f"{people.server.url}/human/interactions", data=form) as response:
        done = await people.finish(await response.json())
    assert done["messages"][0]["content"] == f"{len(picture(9, 5))} 9x5 3 fast 1.5 carl general @everyone True"
    assert people.server.violations == []


async def test_subcommand_group_reaches_the_bot_and_needs_permission(bot: Bot, people: People) -> None:
    done = await people.command("admin credits grant", user=ADA_ID, member=BEA_ID, amount=10)
    assert done["messages"][0]["content"] == "bea 10"
    refused = {"user": CARL_ID, "channel": ART_ID, "command": "admin credits grant", "options": {}}
    await people.post("interactions", expect=403, **refused)


async def test_autocomplete_gives_the_bots_choices(bot: Bot, people: People) -> None:
    body = {"user": BEA_ID, "channel": ART_ID, "command": "suggest", "options": {"flag": "--s"}, "focused": "flag"}
    answer = await people.post("autocomplete", expect=200, **body)
    assert [choice["value"] for choice in answer["choices"]] == ["--seed", "--steps"]


async def test_ephemeral_answers_are_for_their_addressee_only(bot: Bot, people: People) -> None:
    done = await people.command("whisper")
    assert done["ephemeral"] is True
    assert [message["content"] for message in await people.messages(BEA_ID)] == ["psst", "again"]
    assert await people.messages(CARL_ID) == []
    assert [message async for message in channel(bot).history()] == []
    with pytest.raises(discord.NotFound):
        await channel(bot).fetch_message(int(done["message_id"]))
    assert bot.seen.empty()


async def test_message_menu_gets_the_target_with_its_content(bot: Bot, people: People) -> None:
    target = (await people.post("messages", user=CARL_ID, channel=ART_ID, content="my words"))["message"]["id"]
    opened = await people.post("menu", user=BEA_ID, channel=ART_ID, message=target, command="Cancel Job")
    assert (await people.finish(opened))["messages"][0]["content"] == f"cancel {target} my words"


async def test_button_updates_its_message_and_disabled_ones_refuse(bot: Bot, people: People) -> None:
    grid = (await people.command("imagine", prompt="a fox"))["message_id"]
    place = {"user": BEA_ID, "channel": ART_ID, "message": grid}
    await people.post("press", expect=409, custom_id="off", **place)
    await people.post("press", expect=404, custom_id="nothing", **place)
    await people.press(grid, "update")
    [message] = await people.messages()
    assert (message["content"], message["components"]) == ("updated", [])
    await people.post("press", expect=404, custom_id="u1", **place)


async def test_modal_is_filled_in_with_text_and_file(bot: Bot, people: People) -> None:
    grid = (await people.command("imagine", prompt="a fox"))["message_id"]
    opener = await people.press(grid, "edit")
    assert opener["modal"]["title"] == "Repaint"
    form = aiohttp.FormData()
    payload = {"user": BEA_ID, "interaction_id": opener["id"], "values": {"words": "a hat"}}
    form.add_field("payload_json", json.dumps(payload), content_type="application/json")
    form.add_field("mask", b"12345", filename="mask.png")
    async with people.session.post(f"{people.server.url}/human/modal", data=form) as response:
        done = await people.finish(await response.json())
    assert done["messages"][0]["content"] == "a hat [5]"
    # A modal is submitted once, and its limits hold.
    await people.post("modal", expect=404, user=BEA_ID, interaction_id=opener["id"], values={"words": "x"})
    opener = await people.press(grid, "edit")
    await people.post("modal", expect=400, user=BEA_ID, interaction_id=opener["id"], values={"words": "x" * 51})
    assert people.server.violations == []


async def test_late_first_answer_is_refused_and_a_violation(bot: Bot, people: People) -> None:
    opened = await people.post("interactions", user=BEA_ID, channel=ART_ID, command="hold")
    interaction = await bot.held.get()
    people.server.clock.advance(3.1)
    assert (await people.finish(opened))["state"] == "timed_out"
    with pytest.raises(discord.NotFound) as caught:
        await interaction.response.defer()
    assert caught.value.code == 10062
    assert [violation.rule for violation in people.server.violations] == ["late-answer"]


async def test_second_first_answer_is_refused(bot: Bot, people: People) -> None:
    await people.post("interactions", user=BEA_ID, channel=ART_ID, command="hold")
    interaction = await bot.held.get()
    await interaction.response.send_message("one")
    interaction.response._response_type = None
    # discord.py turns 40060 into the exception of its own guard.
    with pytest.raises((discord.InteractionResponded, discord.HTTPException)):
        await interaction.response.send_message("two")
    assert [message["content"] for message in await people.messages()] == ["one"]
    assert [violation.rule for violation in people.server.violations] == ["double-answer"]


async def test_token_ends_after_fifteen_minutes_and_the_channel_still_works(bot: Bot, people: People) -> None:
    opened = await people.post("interactions", user=BEA_ID, channel=ART_ID, command="hold")
    interaction = await bot.held.get()
    await interaction.response.defer()
    original = await interaction.original_response()
    people.server.clock.advance(15 * 60 + 1)
    with pytest.raises(discord.HTTPException) as caught:
        await interaction.edit_original_response(content="late")
    assert (caught.value.status, caught.value.code) == (401, 50027)
    assert (await people.finish(opened))["state"] == "timed_out"
    edited = await channel(bot).get_partial_message(original.id).edit(content="through the channel")
    assert edited.content == "through the channel" and not edited.flags.loading


async def test_followup_after_deferral_fills_the_thinking_message(bot: Bot, people: People) -> None:
    opened = await people.post("interactions", user=BEA_ID, channel=ART_ID, command="hold")
    interaction = await bot.held.get()
    await interaction.response.defer(ephemeral=True)
    [thinking] = await people.messages()
    assert thinking["thinking"] and thinking["ephemeral_to"] == BEA_ID
    followup = await interaction.followup.send("here", wait=True)
    assert str(followup.id) == thinking["id"] and followup.flags.ephemeral
    done = await people.finish(opened)
    assert done["state"] == "answered" and [one["content"] for one in done["messages"]] == ["here"]


async def test_original_response_is_deleted(bot: Bot, people: People) -> None:
    await people.post("interactions", user=BEA_ID, channel=ART_ID, command="hold")
    interaction = await bot.held.get()
    await interaction.response.send_message("gone soon", file=png())
    url = (await people.messages())[0]["attachments"][0]["url"]
    await interaction.delete_original_response()
    assert await people.messages() == []
    async with people.session.get(url) as response:
        assert response.status == 404


async def test_channel_messages_are_sent_edited_and_deleted_with_files(bot: Bot, people: People) -> None:
    message = await channel(bot).send("one", files=[png("a.png"), png("b.png", 3, 3)])
    edited = await message.edit(content="two", attachments=[message.attachments[1], png("c.png", 2, 2)])
    assert [file.filename for file in edited.attachments] == ["b.png", "c.png"]
    assert edited.attachments[0].id == message.attachments[1].id and edited.edited_at is not None
    assert await edited.attachments[1].read() == picture(2, 2)
    assert (await channel(bot).fetch_message(message.id)).content == "two"
    await message.delete()
    with pytest.raises(discord.NotFound) as caught:
        await message.edit(content="three")
    assert caught.value.code == 10008
    assert people.server.violations == []


async def test_history_pages_before_after_and_around(bot: Bot, people: People) -> None:
    for number in range(7):
        await people.post("messages", user=CARL_ID, channel=ART_ID, content=f"<@{BOT_ID}> {number}")

    async def numbers(**query: object) -> list[int]:
        return [int(message.content[-1]) async for message in channel(bot).history(**query)]

    everything = [message async for message in channel(bot).history(oldest_first=True)]
    assert await numbers() == [6, 5, 4, 3, 2, 1, 0]
    assert await numbers(after=everything[2], limit=2) == [3, 4]
    assert await numbers(before=everything[2], limit=1) == [1]
    assert await numbers(around=everything[3], limit=3) == [4, 3, 2]


async def test_content_of_others_is_blank_without_the_intent(bot: Bot, people: People) -> None:
    await people.post("messages", user=CARL_ID, channel=ART_ID, content="secret")
    await people.post("messages", user=CARL_ID, channel=ART_ID, content=f"hello <@{BOT_ID}>")
    async with asyncio.timeout(5):
        assert [(await bot.seen.get()).content for _ in range(2)] == ["", f"hello <@{BOT_ID}>"]
    assert [message.content async for message in channel(bot).history(oldest_first=True)] == ["", f"hello <@{BOT_ID}>"]


async def test_privileged_intents_need_to_be_switched_on(pointed: Sandbox) -> None:
    async with Bot(discord.Intents.all()) as client:
        with pytest.raises(discord.PrivilegedIntentsRequired):
            await client.start(pointed.token)


async def test_private_channel_is_missing_access(bot: Bot, people: People) -> None:
    with pytest.raises(discord.Forbidden) as caught:
        await channel(bot, PRIVATE_ID).send("x")
    assert caught.value.code == 50001
    await people.post("messages", user=CARL_ID, channel=PRIVATE_ID, content=f"<@{BOT_ID}>")
    opened = await people.post("interactions", user=BEA_ID, channel=PRIVATE_ID, command="hold")
    interaction = await bot.held.get()
    assert not interaction.app_permissions.send_messages and bot.seen.empty()
    await interaction.response.send_message("I can't see this channel", ephemeral=True)
    assert (await people.finish(opened))["state"] == "answered"


async def test_permission_taken_from_the_bot_is_seen_and_enforced(bot: Bot, people: People) -> None:
    await people.post("permissions", expect=200, channel=ART_ID, deny=["attach_files"])
    await people.post("interactions", user=BEA_ID, channel=ART_ID, command="hold")
    interaction = await bot.held.get()
    assert not interaction.app_permissions.attach_files and interaction.app_permissions.send_messages
    assert not channel(bot).permissions_for(channel(bot).guild.me).attach_files
    with pytest.raises(discord.Forbidden) as caught:
        await channel(bot).send(file=png())
    assert caught.value.code == 50013
    await people.post("permissions", expect=200, channel=ART_ID, deny=[])
    await channel(bot).send(file=png())


async def test_direct_messages_reach_their_person_only(bot: Bot, people: People) -> None:
    user = await bot.fetch_user(int(BEA_ID))
    message = await user.send("done", file=png())
    await (await message.channel.fetch_message(message.id)).edit(content="done!")
    [seen] = await people.messages(BEA_ID, str(message.channel.id))
    assert seen["content"] == "done!"
    await people.get("messages", expect=404, user=CARL_ID, channel=str(message.channel.id))
    done = await people.command("whisper", channel=str(message.channel.id))
    assert done["state"] == "answered"
    assert people.server.violations == []


async def test_reactions_go_both_ways(bot: Bot, people: People) -> None:
    message = await channel(bot).send("like?")
    await message.add_reaction("🔄")
    await people.post("reactions", user=CARL_ID, channel=ART_ID, message=str(message.id), emoji="🔄")
    async with asyncio.timeout(5):
        assert {(await bot.reactions.get()).user_id for _ in range(2)} == {int(BOT_ID), int(CARL_ID)}
    [reaction] = (await channel(bot).fetch_message(message.id)).reactions
    assert reaction.count == 2 and reaction.me
    await message.remove_reaction("🔄", bot.user)
    assert (await people.messages())[0]["reactions"][0]["count"] == 1


async def test_typing_and_reply_are_shown(bot: Bot, people: People) -> None:
    async with people.session.ws_connect(f"{people.server.url}/human/events") as events:
        async with channel(bot).typing():
            assert await events.receive_json() == {"type": "typing", "channel_id": ART_ID, "user_id": BOT_ID}
        said = await people.post("messages", user=BEA_ID, channel=ART_ID, content="hi")
        message = await channel(bot).fetch_message(int(said["message"]["id"]))
        await message.reply("hello")
        kinds = [(await events.receive_json())["type"] for _ in range(2)]
    assert kinds == ["message_create", "message_create"]
    assert (await people.messages())[-1]["message_reference"]["message_id"] == said["message"]["id"]


async def test_nonce_answers_the_message_that_exists(bot: Bot, people: People) -> None:
    first = await channel(bot).send("one", nonce="1234-1")
    again = await channel(bot).send("one", nonce="1234-1")
    other = await channel(bot).send("one", nonce="1234-2")
    assert first.id == again.id != other.id
    assert len(await people.messages()) == 2


async def test_layout_view_is_resolved_and_works(bot: Bot, people: People) -> None:
    view = discord.ui.LayoutView(timeout=None)
    gallery = discord.ui.MediaGallery(discord.MediaGalleryItem("attachment://grid.png"))
    row = discord.ui.ActionRow(discord.ui.Button(label="U1", custom_id="u1"))
    section = discord.ui.Section("text", accessory=discord.ui.Thumbnail("attachment://grid.png"))
    view.add_item(discord.ui.Container(discord.ui.TextDisplay("# Grid"), gallery, discord.ui.Separator(), row, section))
    message = await channel(bot).send(view=view, file=png())
    item = message.components[0].children[1].items[0]
    async with people.session.get(item.media.url) as response:
        assert await response.read() == picture()
    assert (item.media.width, item.media.height) == (6, 4)
    with pytest.raises(discord.HTTPException) as caught:
        await message.edit(content="text")
    assert caught.value.code == 50035
    assert {violation.rule for violation in people.server.violations} == {"v2-legacy-field"}


@pytest.mark.parametrize("after", [False, True])
async def test_fault_is_answered_before_or_after_the_deed(bot: Bot, people: People, after: bool) -> None:
    await people.post(
        "faults", method="POST", route=r"/channels/\d+/messages$", status=404, code=10003, times=1, after=after
    )
    with pytest.raises(discord.NotFound):
        await channel(bot).send("x")
    assert len(await people.messages()) == int(after)
    await channel(bot).send("y")


async def test_429_is_retried_by_discord_py(bot: Bot, people: People) -> None:
    await people.post("faults", method="POST", route="/messages$", status=429, times=1, retry_after=0.01)
    await channel(bot).send("x")
    assert [message["content"] for message in await people.messages()] == ["x"]
    log = (await people.get("http", limit="2"))["requests"]
    assert [entry["status"] for entry in log] == [429, 200]


async def test_bucket_headers_make_discord_py_wait_instead_of_running_into_429(bot: Bot, people: People) -> None:
    # Reactions: 1 in 0.25 s. discord.py knows the bucket after the first and sleeps by itself.
    message = await channel(bot).send("like?")
    for emoji in "🔄⭐":
        await message.add_reaction(emoji)
    log = (await people.get("http", limit="3"))["requests"]
    assert [entry["status"] for entry in log] == [200, 204, 204]


async def test_drop_resumes_and_replays_what_was_missed(bot: Bot, people: People) -> None:
    await people.post("gateway", expect=200, do="drop")
    await people.post("interactions", user=BEA_ID, channel=ART_ID, command="hold")
    async with asyncio.timeout(10):
        interaction = await bot.held.get()
        await bot.resumed.wait()
    await interaction.response.send_message("still here")
    assert (await people.messages())[0]["content"] == "still here"


async def test_reconnect_is_followed_by_a_resume(bot: Bot, people: People) -> None:
    await people.post("gateway", expect=200, do="reconnect")
    async with asyncio.timeout(10):
        await bot.resumed.wait()
    assert (await people.command("whisper"))["state"] == "answered"


async def test_invalid_session_is_followed_by_a_new_identify(bot: Bot, people: People) -> None:
    bot.ready.clear()
    await people.post("gateway", expect=200, do="invalid_session")
    async with asyncio.timeout(10):
        await bot.ready.wait()
    assert not bot.resumed.is_set()
    assert (await people.command("whisper"))["state"] == "answered"


async def test_two_interactions_at_once_are_both_answered(bot: Bot, people: People) -> None:
    done = await asyncio.gather(*(people.command("imagine", prompt=str(number)) for number in range(20)))
    assert {one["state"] for one in done} == {"answered"}
    assert {message["content"] for message in await people.messages()} == {f"**{number}**" for number in range(20)}
    assert people.server.violations == []
