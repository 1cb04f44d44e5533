"""The human API, the clock and the program itself."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sandbox.clock import Clock
from sandbox.snowflakes import Snowflakes, created_at
from sandbox.world import ADA_ID, ART_ID, BEA_ID, BOT_ID, GUILD_ID
from tests.integration.sandbox.wire import MESSAGES, Raw, StandingTime


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Host": "evil.example:80"}])
async def test_other_origins_are_kept_out(raw: Raw, headers: dict[str, str]) -> None:
    assert (await raw.human("GET", "state", **headers))[0] == 403
    status, _ = await raw.human("POST", "messages", {"user": ADA_ID, "channel": ART_ID, "content": "x"}, **headers)
    assert status == 403 and raw.server.state.messages == {}
    assert (await raw.human("GET", "state", Origin=raw.server.url))[0] == 200


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("interactions", {}, 400),
        ("interactions", [], 400),
        ("interactions", {"user": "5", "channel": ART_ID, "command": "ping"}, 404),
        ("interactions", {"user": BOT_ID, "channel": ART_ID, "command": "ping"}, 404),
        ("interactions", {"user": BEA_ID, "channel": "5", "command": "ping"}, 404),
        ("interactions", {"user": BEA_ID, "channel": ART_ID, "command": "nothing"}, 404),
        ("interactions", {"user": BEA_ID, "channel": ART_ID, "command": ""}, 400),
        ("interactions", {"user": BEA_ID, "channel": ART_ID, "command": "draw"}, 400),
        ("interactions", {"user": BEA_ID, "channel": ART_ID, "command": "draw", "options": {"x": 1}}, 400),
        ("interactions", {"user": BEA_ID, "channel": ART_ID, "command": "draw", "options": {"count": "1"}}, 400),
        ("interactions", {"user": BEA_ID, "channel": ART_ID, "command": "draw", "options": {"count": True}}, 400),
        ("interactions", {"user": BEA_ID, "channel": ART_ID, "command": "draw", "options": {"count": 5}}, 400),
        ("interactions", {"user": BEA_ID, "channel": ART_ID, "command": "draw", "options": {"count": 4}}, 201),
        ("interactions", {"user": BEA_ID, "channel": ART_ID, "command": "draw more", "options": {}}, 404),
        ("autocomplete", {"user": BEA_ID, "channel": ART_ID, "command": "draw", "focused": "count"}, 400),
        ("press", {"user": BEA_ID, "channel": ART_ID, "message": "5", "custom_id": "u1"}, 404),
        ("menu", {"user": BEA_ID, "channel": ART_ID, "message": "5", "command": "Cancel"}, 404),
        ("modal", {"user": BEA_ID, "interaction_id": "5", "values": {}}, 404),
        ("messages", {"user": BEA_ID, "channel": ART_ID, "content": ""}, 400),
        ("messages", {"user": BEA_ID, "channel": ART_ID, "content": "x" * 2001}, 400),
        ("messages", {"user": BEA_ID, "channel": ART_ID, "content": 5}, 400),
        ("reactions", {"user": BEA_ID, "channel": ART_ID, "message": "5", "emoji": "🔄"}, 404),
        ("faults", {"route": "(", "status": 500}, 400),
        ("faults", {"route": "", "status": 200}, 400),
        ("gateway", {"do": "dance"}, 400),
        ("permissions", {"channel": ART_ID, "deny": ["fly"]}, 400),
        ("permissions", {"channel": ART_ID, "deny": []}, 200),
        ("age", {"channel": ART_ID, "restricted": "yes"}, 400),
        ("age", {"channel": "5", "restricted": True}, 404),
        ("clock", {"advance": -1}, 400),
        ("clock", {"advance": float("inf")}, 400),
        ("clock", {"advance": float("nan")}, 400),
        ("clock", {"advance": 1}, 200),
    ],
)
async def test_people_get_clear_refusals(raw: Raw, path: str, body: Any, status: int) -> None:
    count = {"type": 4, "name": "count", "description": "d", "required": True, "min_value": 1, "max_value": 4}
    command = {"name": "draw", "description": "d", "options": [count]}
    await raw.call("PUT", f"/applications/{BOT_ID}/commands", [command])
    got, answer = await raw.human("POST", path, body)
    assert got == status, answer
    assert bool(answer.get("error")) == (status >= 400)
    assert raw.server.violations == []


async def test_unanswered_interaction_times_out_and_the_page_is_told(raw: Raw) -> None:
    await raw.call("PUT", f"/applications/{BOT_ID}/commands", [{"name": "ping", "description": "d"}])
    async with raw.session.ws_connect(f"{raw.server.url}/human/events") as events:
        body = {"user": BEA_ID, "channel": ART_ID, "command": "ping"}
        _, answer = await raw.human("POST", "interactions", body)
        assert (await events.receive_json())["interaction"]["state"] == "pending"
        raw.server.clock.advance(3)
        assert (await events.receive_json())["interaction"]["state"] == "timed_out"
    status, interaction = await raw.human("GET", f"interactions/{answer['interaction_id']}?wait=5")
    assert status == 200 and interaction["state"] == "timed_out" and "token" not in interaction


async def test_violations_can_be_read_and_forgotten(raw: Raw) -> None:
    await raw.call("POST", MESSAGES, {})
    _, answer = await raw.human("GET", "violations")
    assert [violation["rule"] for violation in answer["violations"]] == ["empty-message"]
    await raw.human("DELETE", "violations")
    assert raw.server.violations == []


async def test_ids_increase_even_when_time_stands_still_and_after_a_restart(standing: StandingTime) -> None:
    first = Snowflakes(standing)
    ids = [int(first.next()) for _ in range(3)]
    assert ids == sorted(set(ids))
    assert created_at(str(ids[0])) == standing.seconds
    standing.seconds += 0.001
    assert int(Snowflakes(standing).next()) > ids[-1]


async def test_timers_fire_in_order_when_the_clock_is_moved(standing: StandingTime) -> None:
    clock = Clock(standing)
    fired: list[str] = []
    clock.call_later(20, lambda: fired.append("late"))
    clock.call_later(10, lambda: fired.append("early"))
    clock.call_later(15, lambda: fired.append("cancelled")).cancel()
    clock.advance(9.9)
    assert fired == []
    clock.advance(10.2)
    assert fired == ["early", "late"] and clock.timers == set()
    with pytest.raises(ValueError, match="forward"):
        clock.advance(-1)


async def test_program_prints_where_it_is_and_ends_on_sigterm() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sandbox", "--port", "0", "--token", "t", stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[3], env={**os.environ, "PYTHONPATH": ""},
    )  # fmt: skip
    try:
        async with asyncio.timeout(20):
            where = json.loads(await process.stdout.readline())
            async with aiohttp.ClientSession() as session:
                async with session.get(f"{where['api_url']}/users/@me", headers={"Authorization": "Bot t"}) as response:
                    assert response.status == 200
                async with session.ws_connect(where["gateway_url"]) as socket:
                    assert (await socket.receive_json())["op"] == 10
                    process.send_signal(signal.SIGTERM)
                    assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert where["spec"] is False and where["guild_id"] == GUILD_ID
