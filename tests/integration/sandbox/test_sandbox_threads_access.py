"""Who may do what in threads: the bot as owner, member, stranger and moderator."""

import pytest

from sandbox.world import ART_ID, BEA_ID, BOT_ID, CARL_ID, GUILD_ID
from tests.integration.sandbox.threads import PRIVATE, PUBLIC, THREADS, grant, moderate, names_until, refusal, start
from tests.integration.sandbox.wire import GUILD_MESSAGES, GUILD_REACTIONS, GUILDS, MESSAGES, Gateway, Raw, opened


@pytest.mark.parametrize(
    ("denied", "kind"), [("create_private_threads", PRIVATE), ("create_public_threads", PUBLIC), ("view_channel", 11)]
)
async def test_each_kind_of_thread_has_its_own_permission(raw: Raw, denied: str, kind: int) -> None:
    await grant(raw, deny=(denied,))
    code = 50001 if denied == "view_channel" else 50013
    assert await refusal(raw, "POST", THREADS, {"name": "x", "type": kind}) == (403, code)
    if denied != "view_channel":
        await start(raw, type=PRIVATE + PUBLIC - kind)
    assert raw.server.violations == []


async def test_writing_in_a_thread_has_its_own_permission(raw: Raw) -> None:
    messages = f"/channels/{(await start(raw))['id']}/messages"
    await grant(raw, deny=("send_messages",))
    assert (await raw.call("POST", messages, {"content": "x"}))[0] == 200
    assert await refusal(raw, "POST", MESSAGES, {"content": "x"}) == (403, 50013)
    await grant(raw, deny=("send_messages_in_threads",))
    assert await refusal(raw, "POST", messages, {"content": "x"}) == (403, 50013)
    assert (await raw.call("POST", MESSAGES, {"content": "x"}))[0] == 200


async def test_private_thread_that_the_bot_left_is_closed_to_it(raw: Raw) -> None:
    thread = await start(raw, members=(BEA_ID,))
    noted = (await raw.call("POST", MESSAGES, {"content": "x"}))[1]["id"]
    async with Gateway(raw, intents=GUILDS | GUILD_MESSAGES | GUILD_REACTIONS) as gateway:
        await moderate(raw, thread, "leave", user=BOT_ID)
        assert (await gateway.event("THREAD_MEMBERS_UPDATE"))["removed_member_ids"] == [BOT_ID]
        place = f"/channels/{thread['id']}"
        for method, path in (("GET", place), ("GET", f"{place}/messages"), ("PUT", f"{place}/thread-members/@me")):
            assert await refusal(raw, method, path) == (403, 50001)
        await moderate(raw, thread, "archive")
        await raw.human("POST", "messages", {"user": BEA_ID, "channel": thread["id"], "content": "alone"})
        await raw.human("POST", "reactions", {"user": BEA_ID, "channel": ART_ID, "message": noted, "emoji": "🔄"})
        assert await names_until(gateway, "MESSAGE_REACTION_ADD") == ["MESSAGE_REACTION_ADD"]
        # A command of a member still reaches the bot, and its answer the thread.
        await grant(raw)
        body = {"user": BEA_ID, "channel": thread["id"], "command": "ping"}
        await raw.call("PUT", f"/applications/{BOT_ID}/commands", [{"name": "ping", "description": "d"}])
        await raw.human("POST", "interactions", body)
        asked = await gateway.event("INTERACTION_CREATE")
    callback = f"/interactions/{asked['id']}/{asked['token']}/callback"
    assert (await raw.call("POST", callback, {"type": 4, "data": {"content": "pong"}}))[0] == 204
    await grant(raw, allow=("manage_threads",))
    assert (await raw.call("GET", f"/channels/{thread['id']}/messages"))[1][0]["content"] == "pong"


async def test_locked_thread_is_open_to_moderators_only(raw: Raw) -> None:
    thread = await start(raw, members=(BEA_ID,))
    messages = f"/channels/{thread['id']}/messages"
    _, message, _ = await raw.call("POST", messages, {"content": "x"})
    said = {"user": BEA_ID, "channel": thread["id"], "content": "me?"}
    await moderate(raw, thread, "lock")
    assert await refusal(raw, "POST", messages, {"content": "y"}) == (403, 160005)
    assert await refusal(raw, "PATCH", f"{messages}/{message['id']}", {"content": "y"}) == (403, 160005)
    assert (await raw.human("POST", "messages", said))[0] == 403
    await moderate(raw, thread, "archive")
    assert await refusal(raw, "POST", messages, {"content": "y"}) == (403, 50083)
    assert await refusal(raw, "DELETE", f"{messages}/{message['id']}") == (400, 50083)
    assert await refusal(raw, "PATCH", f"/channels/{thread['id']}", {"archived": False}) == (403, 50013)
    await grant(raw, allow=("manage_threads",))
    assert (await raw.call("POST", messages, {"content": "y"}))[0] == 200


async def test_owner_changes_what_is_its_own_and_moderators_the_rest(raw: Raw) -> None:
    path = f"/channels/{(await start(raw))['id']}"
    async with Gateway(raw) as gateway:
        status, changed, _ = await raw.call("PATCH", path, {"name": " Quiet ", "auto_archive_duration": 60})
        assert (status, changed["name"], changed["thread_metadata"]["auto_archive_duration"]) == (200, "Quiet", 60)
        assert (await gateway.event("THREAD_UPDATE"))["name"] == "Quiet"
        assert (await gateway.event("MESSAGE_CREATE"))["type"] == 4
    for change in ({"locked": True}, {"rate_limit_per_user": 5}):
        assert await refusal(raw, "PATCH", path, change) == (403, 50013)
    assert await refusal(raw, "PATCH", path, {"name": ""}) == (400, 50035)
    assert (await raw.call("PATCH", path, {"archived": True}))[1]["thread_metadata"]["archived"] is True
    assert (await raw.call("PATCH", path, {"archived": False, "invitable": False}))[0] == 200
    await grant(raw, allow=("manage_threads",))
    assert (await raw.call("PATCH", path, {"locked": True}))[1]["thread_metadata"]["locked"] is True
    assert raw.rules() == ["thread-name"]


async def test_deleting_needs_manage_threads_and_takes_messages_and_files_along(raw: Raw) -> None:
    thread = await start(raw)
    path = f"/channels/{thread['id']}"
    _, message, _ = await raw.call("POST", f"{path}/messages", {}, files={"files[0]": b"x"})
    assert await refusal(raw, "DELETE", path) == (403, 50013)
    await grant(raw, allow=("manage_threads",))
    async with Gateway(raw) as gateway:
        assert (await raw.call("DELETE", path))[0] == 200
        gone = await gateway.event("THREAD_DELETE")
    assert gone == {"id": thread["id"], "guild_id": GUILD_ID, "parent_id": ART_ID, "type": PRIVATE}
    assert await refusal(raw, "GET", path) == (404, 10003)
    async with raw.session.get(message["attachments"][0]["url"]) as response:
        assert response.status == 404


async def test_channel_that_opens_to_the_bot_brings_its_threads(raw: Raw) -> None:
    thread = await start(raw)
    await grant(raw, deny=("view_channel",))
    assert await refusal(raw, "GET", f"/channels/{thread['id']}") == (403, 50001)
    async with Gateway(raw) as gateway:
        assert (await gateway.event("GUILD_CREATE"))["threads"] == []
        await grant(raw)
        synced = await gateway.event("THREAD_LIST_SYNC")
    assert synced["channel_ids"] == [ART_ID] and [one["id"] for one in synced["threads"]] == [thread["id"]]
    assert synced["members"][0]["user_id"] == BOT_ID


async def test_in_somebody_elses_thread_the_bot_is_a_member_like_any(raw: Raw) -> None:
    thread = await start(raw, members=(BEA_ID,), invitable=False)
    path = f"/channels/{thread['id']}"
    # Only the bot starts threads here, so this one changes hands.
    raw.server.state.world.threads()[0].owner_id = BEA_ID
    for method, target, body in (
        ("PUT", f"{path}/thread-members/{CARL_ID}", None),
        ("DELETE", f"{path}/thread-members/{BEA_ID}", None),
        ("PATCH", path, {"name": "mine"}),
    ):
        assert await refusal(raw, method, target, body) == (403, 50013)
    await moderate(raw, thread, "archive")
    assert (await raw.call("PATCH", path, {"archived": False}))[0] == 200
    await grant(raw, allow=("manage_threads",))
    assert (await raw.call("PUT", f"{path}/thread-members/{CARL_ID}"))[0] == 204


async def test_who_may_not_write_in_threads_may_not_add_members(raw: Raw) -> None:
    thread = await start(raw)
    await grant(raw, deny=("send_messages_in_threads",))
    assert await refusal(raw, "PUT", f"/channels/{thread['id']}/thread-members/{BEA_ID}") == (403, 50013)


async def test_members_of_public_threads_are_removed_by_moderators_only(raw: Raw) -> None:
    thread = await start(raw, type=PUBLIC, members=(BEA_ID,))
    assert await refusal(raw, "DELETE", f"/channels/{thread['id']}/thread-members/{BEA_ID}") == (403, 50013)


async def test_answer_in_a_locked_archived_thread_can_not_be_deleted(raw: Raw) -> None:
    thread = await start(raw, members=(BEA_ID,))
    async with Gateway(raw) as gateway:
        asked = await opened(raw, gateway, thread["id"])
    await raw.call("POST", f"/interactions/{asked['id']}/{asked['token']}/callback", {"type": 5})
    original = f"/webhooks/{BOT_ID}/{asked['token']}/messages/@original"
    await moderate(raw, thread, "archive")
    assert await refusal(raw, "PATCH", original, {"content": "x"}) == (400, 50083)
    await moderate(raw, thread, "lock")
    assert await refusal(raw, "DELETE", original) == (400, 50083)
    await moderate(raw, thread, "unlock")
    assert (await raw.call("DELETE", original))[0] == 204
