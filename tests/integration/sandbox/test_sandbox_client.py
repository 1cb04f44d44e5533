"""An unmodified discord.py client logs in, registers commands, answers interactions and comes back after a loss."""

import asyncio
import json

import aiohttp
import discord
import pytest

from sandbox.server import Sandbox
from sandbox.world import ADA_ID, ART_ID, BEA_ID, BOT_ID, CARL_ID, GENERAL_ID, GUILD_ID
from tests.integration.sandbox.bot import Bot, channel, picture, png
from tests.integration.sandbox.people import People


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
