"""An unmodified discord.py client sends, edits, reads and reacts in channels, with faults and limits in its way."""

import asyncio

import discord
import pytest

from sandbox.server import Sandbox
from sandbox.state import NONCE_LIFETIME_S
from sandbox.world import ART_ID, BEA_ID, BOT_ID, CARL_ID, PRIVATE_ID
from tests.integration.sandbox.bot import Bot, channel, picture, png
from tests.integration.sandbox.people import People


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


async def test_age_restriction_of_a_channel_is_seen(bot: Bot, people: People) -> None:
    assert not channel(bot).is_nsfw()
    await people.post("age", expect=200, channel=ART_ID, restricted=True)
    await people.post("interactions", user=BEA_ID, channel=ART_ID, command="hold")
    interaction = await bot.held.get()  # whatever was sent before it has arrived
    assert interaction.channel.is_nsfw()
    assert channel(bot).is_nsfw()


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


async def test_nonce_is_forgotten_after_a_few_minutes(bot: Bot, people: People) -> None:
    first = await channel(bot).send("one", nonce="1234-1")
    people.server.clock.advance(NONCE_LIFETIME_S - 1)
    assert (await channel(bot).send("one", nonce="1234-1")).id == first.id
    people.server.clock.advance(2)
    assert (await channel(bot).send("one", nonce="1234-1")).id != first.id


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
