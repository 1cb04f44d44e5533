"""Threads over REST and the gateway: what Discord answers, refuses and tells the bot."""

import aiohttp
import pytest

from sandbox.clock import Clock
from sandbox.server import Sandbox
from sandbox.world import ADA_ID, ART_ID, BEA_ID, BOT_ID, GENERAL_ID, GUILD_ID
from tests.integration.sandbox.threads import PRIVATE, PUBLIC, THREADS, grant, moderate, refusal, start
from tests.integration.sandbox.wire import MESSAGES, Gateway, Raw, StandingTime, opened

GUILDS, GUILD_MEMBERS = 1, 2
HOUR_S = 3600


async def test_new_thread_is_private_and_has_the_bot_in_it(raw: Raw) -> None:
    async with Gateway(raw) as gateway:
        thread = await start(raw, auto_archive_duration=60, invitable=False)
        created = await gateway.event("THREAD_CREATE")
        joined = await gateway.event("THREAD_MEMBERS_UPDATE")
    assert created == thread | {"newly_created": True}
    assert (thread["type"], thread["parent_id"], thread["guild_id"]) == (PRIVATE, ART_ID, GUILD_ID)
    assert (thread["owner_id"], thread["name"], thread["message_count"]) == (BOT_ID, "Stealth", 0)
    metadata = thread["thread_metadata"]
    assert (metadata["archived"], metadata["locked"], metadata["invitable"]) == (False, False, False)
    assert metadata["auto_archive_duration"] == 60 and metadata["create_timestamp"] == metadata["archive_timestamp"]
    assert thread["member"]["user_id"] == BOT_ID and thread["member_count"] == 1
    assert joined["id"] == thread["id"] and joined["added_members"][0]["user_id"] == BOT_ID


async def test_public_thread_is_announced_in_its_channel(raw: Raw) -> None:
    thread = await start(raw, type=PUBLIC)
    assert "invitable" not in thread["thread_metadata"]
    [note] = (await raw.call("GET", MESSAGES))[1]
    assert (note["type"], note["content"], note["message_reference"]["channel_id"]) == (18, "Stealth", thread["id"])
    assert await refusal(raw, "PATCH", f"{MESSAGES}/{note['id']}", {"content": "x"}) == (403, 50021)


async def test_bad_name_is_refused_and_recorded(raw: Raw) -> None:
    assert await refusal(raw, "POST", THREADS, {"name": "x" * 101}) == (400, 50035)
    assert raw.rules() == ["thread-name"]


async def test_thread_in_a_thread_is_refused_and_recorded(raw: Raw) -> None:
    thread = await start(raw)
    assert await refusal(raw, "POST", f"/channels/{thread['id']}/threads", {"name": "x"}) == (400, 50024)
    assert raw.rules() == ["channel-type"]


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


async def test_thread_has_rate_limits_of_its_own(raw: Raw) -> None:
    thread = await start(raw)
    for number in range(5):
        assert (await raw.call("POST", MESSAGES, {"content": str(number)}))[0] == 200
    assert (await raw.call("POST", MESSAGES, {"content": "x"}))[0] == 429
    status, _, headers = await raw.call("POST", f"/channels/{thread['id']}/messages", {"content": "x"})
    assert (status, headers["X-RateLimit-Remaining"]) == (200, "4")


async def test_messages_are_counted_and_deleted_ones_forgotten(raw: Raw) -> None:
    thread = await start(raw)
    messages = f"/channels/{thread['id']}/messages"
    ids = [(await raw.call("POST", messages, {"content": str(number)}))[1]["id"] for number in range(2)]
    assert (await raw.call("DELETE", f"{messages}/{ids[0]}"))[0] == 204
    _, now, _ = await raw.call("GET", f"/channels/{thread['id']}")
    assert (now["message_count"], now["total_message_sent"], now["last_message_id"]) == (1, 2, ids[1])


async def test_members_are_added_and_removed(raw: Raw) -> None:
    async with Gateway(raw, intents=GUILDS) as gateway:
        thread = await start(raw, members=(BEA_ID, BEA_ID))
        path = f"/channels/{thread['id']}/thread-members"
        _, member, _ = await raw.call("GET", f"{path}/{BEA_ID}?with_member=true")
        assert (member["user_id"], member["member"]["user"]["username"]) == (BEA_ID, "bea")
        assert (await raw.call("DELETE", f"{path}/{BEA_ID}"))[0] == 204
        assert await refusal(raw, "GET", f"{path}/{BEA_ID}") == (404, 10007)
        assert await refusal(raw, "DELETE", f"{path}/{BEA_ID}") == (404, 10007)
        assert await refusal(raw, "PUT", f"{path}/5") == (404, 10013)
        assert (await raw.call("DELETE", f"{path}/@me"))[0] == 204
        await gateway.event("THREAD_MEMBERS_UPDATE")
        # Without the members intent a bot hears of its own comings and goings only.
        assert (await gateway.event("THREAD_MEMBERS_UPDATE"))["removed_member_ids"] == [BOT_ID]
    told = (await raw.human("GET", f"messages?user={ADA_ID}&channel={thread['id']}"))[1]["messages"]
    assert [(one["type"], one["mentions"][0]["id"]) for one in told] == [(1, BEA_ID), (2, BEA_ID)]


async def test_members_intent_shows_the_others(standing: StandingTime) -> None:
    async with Sandbox(clock=Clock(standing), privileged=True) as server, aiohttp.ClientSession() as session:
        raw = Raw(server, session)
        async with Gateway(raw, intents=GUILDS | GUILD_MEMBERS) as gateway:
            thread = await start(raw, members=(BEA_ID,))
            await gateway.event("THREAD_MEMBERS_UPDATE")
            [added] = (await gateway.event("THREAD_MEMBERS_UPDATE"))["added_members"]
        assert added["member"]["user"]["id"] == BEA_ID
        _, known, _ = await raw.call("GET", f"/channels/{thread['id']}/thread-members")
        assert {member["user_id"] for member in known} == {BOT_ID, BEA_ID}


async def test_without_the_members_intent_the_list_has_the_bot_only(raw: Raw) -> None:
    thread = await start(raw, members=(BEA_ID,))
    _, known, _ = await raw.call("GET", f"/channels/{thread['id']}/thread-members")
    assert [member["user_id"] for member in known] == [BOT_ID]


async def test_private_thread_that_the_bot_left_is_closed_to_it(raw: Raw) -> None:
    thread = await start(raw, members=(BEA_ID,))
    async with Gateway(raw) as gateway:
        await moderate(raw, thread, "leave", user=BOT_ID)
        assert (await gateway.event("THREAD_MEMBERS_UPDATE"))["removed_member_ids"] == [BOT_ID]
        place = f"/channels/{thread['id']}"
        for method, path in (("GET", place), ("GET", f"{place}/messages"), ("PUT", f"{place}/thread-members/@me")):
            assert await refusal(raw, method, path) == (403, 50001)
        await raw.human("POST", "messages", {"user": BEA_ID, "channel": thread["id"], "content": "alone"})
        await raw.human("POST", "messages", {"user": BEA_ID, "channel": ART_ID, "content": "x"})
        assert (await gateway.event("MESSAGE_CREATE"))["channel_id"] == ART_ID
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


async def test_archived_thread_takes_no_change_but_a_message_opens_it(raw: Raw) -> None:
    thread = await start(raw)
    place = f"/channels/{thread['id']}"
    _, message, _ = await raw.call("POST", f"{place}/messages", {"content": "x"})
    said = f"{place}/messages/{message['id']}"
    await moderate(raw, thread, "archive")
    for method, path, body in (
        ("PATCH", said, {"content": "y"}),
        ("PUT", f"{said}/reactions/🔄/@me", None),
        ("PUT", f"{place}/thread-members/{BEA_ID}", None),
        ("DELETE", f"{place}/thread-members/@me", None),
        ("PATCH", place, {"name": "x"}),
    ):
        assert await refusal(raw, method, path, body) == (400, 50083)
    assert (await raw.call("DELETE", said))[0] == 204
    async with Gateway(raw) as gateway:
        assert (await raw.call("POST", f"{place}/messages", {"content": "y"}))[0] == 200
        assert (await gateway.event("THREAD_UPDATE"))["thread_metadata"]["archived"] is False
        assert (await gateway.event("THREAD_MEMBER_UPDATE"))["user_id"] == BOT_ID
        assert (await gateway.event("MESSAGE_CREATE"))["content"] == "y"
    assert raw.server.violations == []


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


async def test_answer_into_a_deleted_thread_is_an_unknown_channel(raw: Raw) -> None:
    thread = await start(raw, members=(BEA_ID,))
    async with Gateway(raw) as gateway:
        deferred, late = [await opened(raw, gateway, thread["id"]) for _ in range(2)]
    callback = "/interactions/{id}/{token}/callback"
    assert (await raw.call("POST", callback.format(**deferred), {"type": 5}))[0] == 204
    await moderate(raw, thread, "delete")
    assert await refusal(raw, "POST", callback.format(**late), {"type": 5}) == (404, 10003)
    webhook = f"/webhooks/{BOT_ID}/{deferred['token']}"
    assert await refusal(raw, "POST", webhook, {"content": "x"}) == (404, 10003)
    assert await refusal(raw, "PATCH", f"{webhook}/messages/@original", {"content": "x"}) == (404, 10008)


async def test_thread_without_messages_archives_itself(raw: Raw) -> None:
    thread = await start(raw, auto_archive_duration=60)
    place = f"/channels/{thread['id']}"
    raw.server.clock.advance(HOUR_S - 1)
    await raw.call("POST", f"{place}/messages", {"content": "still here"})
    raw.server.clock.advance(HOUR_S - 1)
    assert (await raw.call("GET", place))[1]["thread_metadata"]["archived"] is False
    raw.server.clock.advance(1)
    assert (await raw.call("GET", place))[1]["thread_metadata"]["archived"] is True


async def test_guild_comes_with_the_active_threads_that_the_bot_sees(raw: Raw) -> None:
    mine, public = await start(raw, name="mine"), await start(raw, name="public", type=PUBLIC)
    left, archived = await start(raw, name="left"), await start(raw, name="archived")
    await moderate(raw, left, "leave", user=BOT_ID)
    await moderate(raw, archived, "archive")
    async with Gateway(raw) as gateway:
        guild = await gateway.event("GUILD_CREATE")
    newest_first = [public["id"], mine["id"]]
    assert [thread["id"] for thread in guild["threads"]] == newest_first
    _, active, _ = await raw.call("GET", f"/guilds/{GUILD_ID}/threads/active")
    assert [thread["id"] for thread in active["threads"]] == newest_first
    assert [member["id"] for member in active["members"]] == newest_first
    assert (await raw.call("GET", f"/channels/{archived['id']}"))[0] == 200


async def test_archived_threads_are_listed_by_kind(raw: Raw, standing: StandingTime) -> None:
    private = [await start(raw, name=f"private {number}") for number in range(3)]
    public = await start(raw, type=PUBLIC)
    for thread in (*private, public):
        standing.seconds += 1
        await moderate(raw, thread, "archive")
    lists = f"{THREADS}/archived"
    assert [one["id"] for one in (await raw.call("GET", f"{lists}/public"))[1]["threads"]] == [public["id"]]
    assert await refusal(raw, "GET", f"{lists}/private") == (403, 50013)
    joined = f"/channels/{ART_ID}/users/@me/threads/archived/private"
    _, page, _ = await raw.call("GET", f"{joined}?limit=2")
    assert ([one["name"] for one in page["threads"]], page["has_more"]) == (["private 2", "private 1"], True)
    _, rest, _ = await raw.call("GET", f"{joined}?limit=2&before={private[1]['id']}")
    assert ([one["name"] for one in rest["threads"]], rest["has_more"]) == (["private 0"], False)
    await grant(raw, allow=("manage_threads",))
    before = page["threads"][0]["thread_metadata"]["archive_timestamp"].replace("+00:00", "Z")
    _, earlier, _ = await raw.call("GET", f"{lists}/private?before={before}")
    assert [one["name"] for one in earlier["threads"]] == ["private 1", "private 0"]


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


async def test_other_channels_can_not_be_changed_here(raw: Raw) -> None:
    for method in ("PATCH", "DELETE"):
        assert await refusal(raw, method, f"/channels/{GENERAL_ID}", {"name": "x"}) == (501, 0)
    assert await refusal(raw, "PUT", f"/channels/{GENERAL_ID}/thread-members/{BEA_ID}") == (400, 50024)
    assert raw.rules() == ["not-in-sandbox", "not-in-sandbox", "channel-type"]
    age = {"channel": (await start(raw))["id"], "restricted": True}
    assert (await raw.human("POST", "age", age))[0] == 404
