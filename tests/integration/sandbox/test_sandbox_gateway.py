"""The gateway, spoken to without a library."""

import asyncio
from typing import Any

import aiohttp
import pytest

from sandbox.world import BOT_ID, GUILD_ID
from tests.integration.sandbox.wire import GUILDS, MESSAGE_CONTENT, MESSAGES, Gateway, Raw, StandingTime


@pytest.mark.parametrize(
    ("query", "frame"),
    [
        ("?v=10&encoding=json", aiohttp.WSMsgType.TEXT),
        ("?v=10&encoding=json&compress=zlib-stream", aiohttp.WSMsgType.BINARY),
        ("?v=10&encoding=json&compress=zstd-stream", aiohttp.WSMsgType.TEXT),
    ],
)
async def test_frames_are_one_zlib_stream_when_asked_and_text_otherwise(
    raw: Raw, query: str, frame: aiohttp.WSMsgType
) -> None:
    async with Gateway(raw, query=query) as gateway:
        assert gateway.hello == {"op": 10, "s": None, "t": None, "d": {"heartbeat_interval": 20000}}
        guild = await gateway.event("GUILD_CREATE")
        assert guild["id"] == GUILD_ID and guild["member_count"] == 4
        # Without the presences intent a bot knows nobody but itself.
        assert [member["user"]["id"] for member in guild["members"]] == [BOT_ID]
        await gateway.send(1, gateway.sequence)
        assert (await gateway.receive())["op"] == 11
    assert set(gateway.frames) == {frame}


@pytest.mark.parametrize(
    ("op", "data", "code"),
    [
        (2, {"token": "wrong", "intents": 0}, 4004),
        (2, {"token": "sandbox", "intents": "all"}, 4013),
        (2, {"token": "sandbox", "intents": MESSAGE_CONTENT}, 4014),
        (2, None, 4004),
        (3, {}, 4003),
        (99, {}, 4001),
    ],
)
async def test_bad_payload_closes_with_discords_code(raw: Raw, op: int, data: Any, code: int) -> None:
    async with Gateway(raw, intents=None) as gateway:
        await gateway.send(op, data)
        assert await gateway.closed() == code


async def test_undecodable_payload_closes_4002(raw: Raw) -> None:
    async with Gateway(raw, intents=None) as gateway:
        await gateway.socket.send_str("[]")
        assert await gateway.closed() == 4002


async def test_second_identify_closes_4005(raw: Raw) -> None:
    async with Gateway(raw) as gateway:
        await gateway.identify()
        assert await gateway.closed() == 4005


async def test_more_than_120_sends_a_minute_close_4008(raw: Raw) -> None:
    async with Gateway(raw) as gateway:
        for _ in range(119):
            await gateway.send(3, {})
        await gateway.send(1, None)
        assert await gateway.closed() == 4008


async def test_120_sends_a_minute_pass_and_the_window_moves_on(raw: Raw, standing: StandingTime) -> None:
    async with Gateway(raw) as gateway:
        for _ in range(118):
            await gateway.send(3, {})
        await gateway.send(1, None)
        while (await gateway.receive())["op"] != 11:
            pass
        standing.seconds += 61
        await gateway.send(1, None)
        assert (await gateway.receive())["op"] == 11


async def test_intents_decide_what_arrives(raw: Raw) -> None:
    async with Gateway(raw, intents=GUILDS) as quiet, Gateway(raw) as listening:
        await raw.call("POST", MESSAGES, {"content": "x"})
        assert (await listening.event("MESSAGE_CREATE"))["guild_id"] == GUILD_ID
        await quiet.event("GUILD_CREATE")
        await quiet.send(1, None)
        assert (await quiet.receive())["op"] == 11


async def test_resume_replays_exactly_what_was_missed(raw: Raw) -> None:
    async with Gateway(raw) as first:
        await first.event("GUILD_CREATE")
    for content in ("a", "b"):
        await raw.call("POST", MESSAGES, {"content": content})
    async with Gateway(raw, intents=None) as second:
        await second.resume(first.session_id, first.sequence)
        replayed = [await second.receive() for _ in range(3)]
    assert [payload["t"] for payload in replayed] == ["MESSAGE_CREATE", "MESSAGE_CREATE", "RESUMED"]
    assert [payload["d"]["content"] for payload in replayed[:2]] == ["a", "b"]
    assert [payload["s"] for payload in replayed] == [first.sequence + 1, first.sequence + 2, first.sequence + 3]


@pytest.mark.parametrize(("session", "sequence"), [("nothing", 1), (None, 99), (None, -1), (None, None)])
async def test_resume_of_what_is_not_there_is_an_invalid_session(raw: Raw, session: str | None, sequence: Any) -> None:
    async with Gateway(raw) as first:
        pass
    async with Gateway(raw, intents=None) as second:
        await second.resume(session or first.session_id, sequence)
        assert await second.receive() == {"op": 9, "s": None, "t": None, "d": False}


async def test_session_is_gone_after_a_normal_close_or_five_minutes(raw: Raw, standing: StandingTime) -> None:
    async with Gateway(raw) as left:
        await left.socket.close(code=1000)
    async with Gateway(raw) as lost:
        pass
    async with Gateway(raw, intents=None) as gateway:
        await gateway.resume(left.session_id, 1)
        assert (await gateway.receive())["op"] == 9
        standing.seconds += 301
        await gateway.resume(lost.session_id, 1)
        assert (await gateway.receive())["op"] == 9


async def test_zombie_answers_no_heartbeat(raw: Raw) -> None:
    async with Gateway(raw) as gateway:
        await gateway.event("GUILD_CREATE")
        await raw.human("POST", "gateway", {"do": "zombie"})
        await gateway.send(1, None)
        await raw.call("POST", MESSAGES, {"content": "x"})
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await gateway.receive()


async def test_members_are_sent_on_request(raw: Raw) -> None:
    async with Gateway(raw) as gateway:
        await gateway.send(8, {"guild_id": GUILD_ID, "query": "b", "limit": 0, "nonce": "n"})
        chunk = await gateway.event("GUILD_MEMBERS_CHUNK")
    assert [member["user"]["username"] for member in chunk["members"]] == ["bea"] and chunk["nonce"] == "n"
