"""Threads over REST and the gateway: what Discord answers, refuses and tells the bot."""

import aiohttp

from sandbox.clock import Clock
from sandbox.server import Sandbox
from sandbox.world import ADA_ID, ART_ID, BEA_ID, BOT_ID, GENERAL_ID, GUILD_ID
from tests.integration.sandbox.threads import PRIVATE, PUBLIC, THREADS, grant, moderate, names_until, refusal, start
from tests.integration.sandbox.wire import GUILDS, MESSAGES, Gateway, Raw, StandingTime, opened

GUILD_MEMBERS = 2
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


async def test_what_discord_itself_writes_stays(raw: Raw) -> None:
    thread = await start(raw, members=(BEA_ID,))
    messages = f"/channels/{thread['id']}/messages"
    [added] = (await raw.call("GET", messages))[1]
    assert await refusal(raw, "DELETE", f"{messages}/{added['id']}") == (403, 50021)
    assert await refusal(raw, "PATCH", f"{messages}/{added['id']}", {"content": "x"}) == (403, 50021)


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


async def test_bot_is_not_told_again_of_a_thread_when_others_join(raw: Raw) -> None:
    async with Gateway(raw) as gateway:
        await start(raw, members=(BEA_ID,))
        told = await names_until(gateway, "MESSAGE_CREATE")
    assert told == ["GUILD_CREATE", "THREAD_CREATE", "THREAD_MEMBERS_UPDATE", "MESSAGE_CREATE"]


async def test_bot_that_writes_in_a_public_thread_joins_it(raw: Raw) -> None:
    thread = await start(raw, type=PUBLIC)
    path = f"/channels/{thread['id']}"
    await raw.call("DELETE", f"{path}/thread-members/@me")
    assert "member" not in (await raw.call("GET", path))[1]
    async with Gateway(raw) as gateway:
        await raw.call("POST", f"{path}/messages", {"content": "x"})
        created = await gateway.event("THREAD_CREATE")
    assert created["member"]["user_id"] == BOT_ID and "newly_created" not in created


async def test_without_the_members_intent_the_list_has_the_bot_only(raw: Raw) -> None:
    thread = await start(raw, members=(BEA_ID,))
    _, known, _ = await raw.call("GET", f"/channels/{thread['id']}/thread-members")
    assert [member["user_id"] for member in known] == [BOT_ID]


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


async def test_other_channels_can_not_be_changed_here(raw: Raw) -> None:
    for method in ("PATCH", "DELETE"):
        assert await refusal(raw, method, f"/channels/{GENERAL_ID}", {"name": "x"}) == (501, 0)
    assert await refusal(raw, "PUT", f"/channels/{GENERAL_ID}/thread-members/{BEA_ID}") == (400, 50024)
    assert raw.rules() == ["not-in-sandbox", "not-in-sandbox", "channel-type"]
    age = {"channel": (await start(raw))["id"], "restricted": True}
    assert (await raw.human("POST", "age", age))[0] == 404
