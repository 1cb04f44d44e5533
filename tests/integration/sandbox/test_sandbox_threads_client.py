"""An unmodified discord.py client works in threads as in channels."""

import json

import aiohttp
import discord

from sandbox.world import ART_ID, BEA_ID, BOT_ID
from tests.integration.sandbox.bot import Bot, Buttons, channel
from tests.integration.sandbox.people import People


async def stealth(bot: Bot) -> discord.Thread:
    """A private thread with bea in it, known to the client."""
    thread = await channel(bot).create_thread(name="Stealth", invitable=False, auto_archive_duration=10080)
    await thread.add_user(discord.Object(int(BEA_ID)))
    return thread


async def test_private_thread_is_made_filled_and_found_again(bot: Bot, people: People) -> None:
    thread = await stealth(bot)
    assert thread.is_private() and thread.parent == channel(bot) and not thread.invitable
    assert thread.me is not None and thread.owner_id == int(BOT_ID) and not thread.is_nsfw()
    message = await thread.send("hello", view=Buttons())
    assert message.channel == thread and bot.get_channel(thread.id) == thread
    assert [one.id for one in await thread.guild.active_threads()] == [thread.id]
    assert [one.content async for one in thread.history()] == ["hello", ""]
    assert (await message.edit(content="hi")).content == "hi"
    await message.delete()
    assert [one["content"] for one in await people.messages(channel=str(thread.id))] == [""]
    assert people.server.violations == []


async def test_age_restriction_is_the_parents(bot: Bot, people: People) -> None:
    thread = await stealth(bot)
    changed = bot.wait_for("guild_channel_update", timeout=5)
    await people.post("age", expect=200, channel=ART_ID, restricted=True)
    await changed
    assert thread.is_nsfw()


async def test_archived_thread_leaves_the_cache_and_is_fetched_and_opened(bot: Bot, people: People) -> None:
    thread = await stealth(bot)
    await thread.send("hello")
    archived = bot.wait_for("thread_update", timeout=5)
    await people.post("threads", expect=200, thread=str(thread.id), do="archive")
    await archived
    assert bot.get_channel(thread.id) is None
    fetched = await bot.fetch_channel(thread.id)
    assert isinstance(fetched, discord.Thread) and fetched.archived
    [listed] = [one async for one in channel(bot).archived_threads(private=True, joined=True)]
    assert listed.id == thread.id
    opened = bot.wait_for("thread_join", timeout=5)
    assert not (await fetched.edit(archived=False)).archived
    await opened
    assert bot.get_channel(thread.id) == thread
    assert people.server.violations == []


async def test_commands_buttons_menus_and_modals_work_in_a_thread(bot: Bot, people: People) -> None:
    thread = str((await stealth(bot)).id)
    drawn = await people.command("imagine", channel=thread, prompt="a fox")
    assert drawn["messages"][0]["channel_id"] == thread and drawn["messages"][0]["content"] == "**a fox**"
    grid = drawn["message_id"]
    await people.press(grid, "u1", channel=thread)
    assert (await people.messages(channel=thread))[-1]["content"].startswith("Image #1")
    menu = await people.post("menu", user=BEA_ID, channel=thread, message=grid, command="Cancel Job")
    assert (await people.finish(menu))["messages"][0]["content"] == f"cancel {grid} **a fox**"
    opener = await people.press(grid, "edit", channel=thread)
    form = aiohttp.FormData()
    payload = {"user": BEA_ID, "interaction_id": opener["id"], "values": {"words": "a hat"}}
    form.add_field("payload_json", json.dumps(payload), content_type="application/json")
    async with people.session.post(f"{people.server.url}/human/modal", data=form) as response:
        done = await people.finish(await response.json())
    assert done["messages"][0]["content"] == "a hat []" and done["channel"] == thread
    assert people.server.violations == []


async def test_interaction_in_a_thread_knows_where_it_is(bot: Bot, people: People) -> None:
    """Also where the client has forgotten the thread, as it does with archived ones."""
    thread = await stealth(bot)
    thread.guild._remove_thread(thread)
    await people.post("interactions", user=BEA_ID, channel=str(thread.id), command="hold")
    interaction = await bot.held.get()
    assert isinstance(interaction.channel, discord.Thread) and interaction.channel.parent == channel(bot)
    assert interaction.channel_id == thread.id and interaction.app_permissions.send_messages_in_threads
    await interaction.response.defer()
    await interaction.edit_original_response(content="done")
    await interaction.followup.send("more")
    contents = [one["content"] for one in await people.messages(channel=str(thread.id))]
    assert contents[-2:] == ["done", "more"]


async def test_deleted_thread_leaves_the_cache(bot: Bot, people: People) -> None:
    thread = await stealth(bot)
    await people.post("permissions", expect=200, channel=ART_ID, allow=["manage_threads"], deny=[])
    deleted = bot.wait_for("thread_delete", timeout=5)
    await thread.delete()
    await deleted
    assert bot.get_channel(thread.id) is None
    assert (await people.get("state"))["threads"] == []
