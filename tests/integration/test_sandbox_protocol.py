"""The local Discord's wire: REST, gateway, CDN and limits, spoken to without a library."""

import asyncio
import io
import itertools
import json
import os
import signal
import sys
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sandbox.clock import Clock
from sandbox.server import Sandbox
from sandbox.snowflakes import Snowflakes, created_at
from sandbox.spec import Spec
from sandbox.uploads import MAX_FILE_BYTES
from sandbox.world import ADA_ID, ART_ID, BEA_ID, BOT_ID, GUILD_ID, PRIVATE_ID

SPEC = Path(__file__).parents[3] / "shared" / "discord_openapi.json"
needs_spec = pytest.mark.skipif(not SPEC.exists(), reason="Discord's OpenAPI description isn't there")
MESSAGES = f"/channels/{ART_ID}/messages"
GUILDS, GUILD_MESSAGES, MESSAGE_CONTENT = 1, 1 << 9, 1 << 15


class StandingTime:
    """A source of time that stands still unless moved, so that windows and deadlines are exact."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def __call__(self) -> float:
        return self.seconds


class Raw:
    """Requests as the bot, and as people."""

    def __init__(self, server: Sandbox, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.session = session

    async def call(
        self, method: str, path: str, body: Any = None, *, files: dict[str, bytes] | None = None, **headers: str
    ) -> tuple[int, Any, aiohttp.typedefs.LooseHeaders]:
        headers = {"Authorization": f"Bot {self.server.token}"} | headers
        data: Any = None if body is None else json.dumps(body)
        if files is not None:
            data = aiohttp.FormData(quote_fields=False)
            data.add_field("payload_json", json.dumps(body or {}), content_type="application/json")
            for name, content in files.items():
                data.add_field(name, io.BytesIO(content), filename="a.png", content_type="application/octet-stream")
        elif body is not None:
            headers["Content-Type"] = "application/json"
        async with self.session.request(method, self.server.api_url + path, data=data, headers=headers) as response:
            text = await response.text()
            return response.status, json.loads(text) if text else None, response.headers

    async def human(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        url = f"{self.server.url}/human/{path}"
        async with self.session.request(method, url, json=body, headers=headers) as response:
            return response.status, await response.json()

    def rules(self) -> list[str]:
        return [violation.rule for violation in self.server.violations]


@pytest.fixture
def standing() -> StandingTime:
    return StandingTime()


@pytest.fixture
async def raw(standing: StandingTime) -> AsyncIterator[Raw]:
    clock = Clock(standing)
    async with Sandbox(clock=clock, heartbeat_interval=20) as server, aiohttp.ClientSession() as session:
        yield Raw(server, session)


@pytest.fixture
async def checked(standing: StandingTime) -> AsyncIterator[Raw]:
    async with Sandbox(clock=Clock(standing), spec=SPEC) as server, aiohttp.ClientSession() as session:
        yield Raw(server, session)


# REST


async def test_json_answers_have_the_exact_content_type(raw: Raw) -> None:
    _, body, headers = await raw.call("GET", "/users/@me")
    assert headers["Content-Type"] == "application/json" and body["id"] == BOT_ID


@pytest.mark.parametrize("authorization", ["", "Bot wrong", "Bearer sandbox", "sandbox"])
async def test_wrong_token_is_401(raw: Raw, authorization: str) -> None:
    status, body, _ = await raw.call("GET", "/users/@me", Authorization=authorization)
    assert (status, body["message"]) == (401, "401: Unauthorized")


async def test_unknown_route_is_a_violation(raw: Raw) -> None:
    status, _, _ = await raw.call("POST", "/channels/1/mesages", {"content": "x"})
    assert status == 404 and raw.rules() == ["unknown-route"]


async def test_broken_form_is_answered_with_the_errors_tree_and_recorded(raw: Raw) -> None:
    status, body, _ = await raw.call("POST", MESSAGES, {"content": "x" * 2001})
    assert (status, body["code"]) == (400, 50035)
    [error] = body["errors"]["content"]["_errors"]
    assert error["code"] == "BASE_TYPE_MAX_LENGTH"
    [violation] = raw.server.violations
    assert (violation.method, violation.route, violation.rule) == ("POST", MESSAGES, "content-length")
    assert len(violation.payload["content"]) < 300


async def test_empty_message_has_its_own_code(raw: Raw) -> None:
    status, body, _ = await raw.call("POST", MESSAGES, {})
    assert (status, body["code"], raw.rules()) == (400, 50006, ["empty-message"])


@pytest.mark.parametrize("text", ["{", "[1]", '"x"', ""])
async def test_body_that_is_no_object_is_refused(raw: Raw, text: str) -> None:
    headers = {"Authorization": "Bot sandbox", "Content-Type": "application/json"}
    async with raw.session.post(raw.server.api_url + MESSAGES, data=text, headers=headers) as response:
        assert response.status == 400
    assert len(raw.server.violations) == 1


async def test_too_large_file_is_413_and_the_limit_itself_passes(raw: Raw) -> None:
    status, body, _ = await raw.call("POST", MESSAGES, {}, files={"files[0]": b"x" * (MAX_FILE_BYTES + 1)})
    assert (status, body["code"], raw.rules()) == (413, 40005, ["file-size"])
    status, body, _ = await raw.call("POST", MESSAGES, {}, files={"files[0]": b"x" * MAX_FILE_BYTES})
    assert status == 200 and body["attachments"][0]["size"] == MAX_FILE_BYTES


async def test_too_large_request_is_413(raw: Raw) -> None:
    files = {f"files[{number}]": b"x" * (9 * 1024 * 1024) for number in range(3)}
    status, body, _ = await raw.call("POST", MESSAGES, {}, files=files)
    assert (status, body["code"]) == (413, 40005)


async def test_file_part_with_another_name_is_refused(raw: Raw) -> None:
    status, _, _ = await raw.call("POST", MESSAGES, {"content": "x"}, files={"file": b"x"})
    assert status == 400 and raw.rules() == ["file-part"]


async def test_files_are_described_by_the_attachments_list(raw: Raw) -> None:
    payload = {"attachments": [{"id": 0, "filename": "b.webp", "description": "alt"}]}
    _, body, _ = await raw.call("POST", MESSAGES, payload, files={"files[0]": b"x"})
    [file] = body["attachments"]
    assert (file["filename"], file["description"], file["content_type"]) == ("b.webp", "alt", "image/webp")
    assert "width" not in file


async def test_editing_others_messages_is_forbidden(raw: Raw) -> None:
    _, said = await raw.human("POST", "messages", {"user": ADA_ID, "channel": ART_ID, "content": "x"})
    path = f"{MESSAGES}/{said['message']['id']}"
    assert (await raw.call("PATCH", path, {"content": "y"}))[1]["code"] == 50005
    assert (await raw.call("DELETE", path))[1]["code"] == 50013


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/channels/5", 10003),
        (f"/channels/{PRIVATE_ID}", 50001),
        (f"{MESSAGES}/5", 10008),
        ("/users/5", 10013),
        ("/guilds/5", 10004),
        (f"/guilds/{GUILD_ID}/members/5", 10007),
        (f"/guilds/{GUILD_ID}/members", 50001),
        (f"/webhooks/{BOT_ID}/nothing/messages/@original", 10015),
        (f"/applications/{BOT_ID}/commands/5", 10063),
    ],
)
async def test_what_is_not_there_has_discords_code(raw: Raw, path: str, code: int) -> None:
    status, body, _ = await raw.call("GET", path)
    assert body["code"] == code and status in (403, 404)
    assert raw.server.violations == []


# rate limits


async def test_bucket_counts_down_refuses_and_opens_again(raw: Raw, standing: StandingTime) -> None:
    left = []
    for number in range(5):
        status, _, headers = await raw.call("POST", MESSAGES, {"content": str(number)})
        assert (status, headers["X-RateLimit-Limit"], headers["X-RateLimit-Reset-After"]) == (200, "5", "5.000")
        left.append(headers["X-RateLimit-Remaining"])
    assert left == ["4", "3", "2", "1", "0"]
    standing.seconds += 4.5
    status, body, headers = await raw.call("POST", MESSAGES, {"content": "x"})
    assert (status, body["retry_after"], body["global"]) == (429, 0.5, False)
    assert headers["Via"] and headers["Retry-After"] == "1" and headers["X-RateLimit-Scope"] == "user"
    other = f"/channels/{raw.server.state.world.guild_channels()[0].id}/messages"
    assert (await raw.call("POST", other, {"content": "x"}))[0] == 200
    standing.seconds += 0.5
    assert (await raw.call("POST", MESSAGES, {"content": "x"}))[0] == 200
    assert raw.server.violations == []


async def test_global_limit_is_fifty_a_second(raw: Raw, standing: StandingTime) -> None:
    for path in itertools.islice(itertools.cycle([f"/channels/{ART_ID}", "/users/@me"]), 50):
        assert (await raw.call("GET", path))[0] == 200
    status, body, headers = await raw.call("POST", MESSAGES, {"content": "x"})
    assert status == 429 and body["global"] is True and headers["X-RateLimit-Global"] == "true"
    standing.seconds += 1
    assert (await raw.call("GET", "/users/@me"))[0] == 200


async def test_edits_deletes_and_reactions_have_buckets_of_their_own(raw: Raw) -> None:
    _, message, _ = await raw.call("POST", MESSAGES, {"content": "x"})
    path = f"{MESSAGES}/{message['id']}"
    limits = []
    for method, target, body in (
        ("PATCH", path, {"content": "y"}),
        ("PUT", f"{path}/reactions/🔄/@me", None),
        ("DELETE", path, None),
    ):
        status, _, headers = await raw.call(method, target, body)
        assert status in (200, 204)
        limits.append((headers["X-RateLimit-Limit"], float(headers["X-RateLimit-Reset-After"])))
    assert limits == [("5", 5.0), ("1", 0.25), ("5", 1.0)]


# interactions


async def opened(raw: Raw, gateway: "Gateway") -> dict:
    """A /ping by bea, as the gateway reports it."""
    await raw.call("PUT", f"/applications/{BOT_ID}/commands", [{"name": "ping", "description": "d"}])
    status, answer = await raw.human("POST", "interactions", {"user": BEA_ID, "channel": ART_ID, "command": "ping"})
    assert status == 201, answer
    return await gateway.event("INTERACTION_CREATE")


async def test_interaction_payload_has_what_discord_sends(raw: Raw) -> None:
    async with Gateway(raw) as gateway:
        interaction = await opened(raw, gateway)
    assert interaction["version"] == 1 and interaction["attachment_size_limit"] == MAX_FILE_BYTES
    assert interaction["context"] == 0 and interaction["authorizing_integration_owners"] == {"0": GUILD_ID}
    assert interaction["locale"] == "en-US" and interaction["entitlements"] == []
    assert int(interaction["app_permissions"]) & 1 << 11
    assert interaction["member"]["user"]["id"] == BEA_ID and "user" not in interaction


async def test_callback_answers_204_or_a_response(raw: Raw) -> None:
    async with Gateway(raw) as gateway:
        one, two = await opened(raw, gateway), await opened(raw, gateway)
    body = {"type": 4, "data": {"content": "pong"}}
    assert (await raw.call("POST", f"/interactions/{one['id']}/{one['token']}/callback", body))[0] == 204
    path = f"/interactions/{two['id']}/{two['token']}/callback?with_response=1"
    status, answer, _ = await raw.call("POST", path, {"type": 5, "data": {"flags": 64}})
    assert status == 200 and "resource" not in answer
    assert answer["interaction"]["response_message_loading"] and answer["interaction"]["response_message_ephemeral"]


@pytest.mark.parametrize("kind", [1, 6, 7, 8, 10, None, "4"])
async def test_callback_type_must_fit_the_interaction(raw: Raw, kind: Any) -> None:
    async with Gateway(raw) as gateway:
        one = await opened(raw, gateway)
    path = f"/interactions/{one['id']}/{one['token']}/callback"
    status, body, _ = await raw.call("POST", path, {"type": kind})
    assert (status, body["code"], raw.rules()) == (400, 50035, ["callback-type"])
    assert (await raw.call("POST", path, {"type": 5}))[0] == 204


async def test_second_callback_is_40060(raw: Raw) -> None:
    async with Gateway(raw) as gateway:
        one = await opened(raw, gateway)
    path = f"/interactions/{one['id']}/{one['token']}/callback"
    await raw.call("POST", path, {"type": 5})
    status, body, _ = await raw.call("POST", path, {"type": 5})
    assert (status, body["code"], raw.rules()) == (400, 40060, ["double-answer"])


async def test_answer_just_in_time_passes_and_a_wrong_token_is_unknown(raw: Raw, standing: StandingTime) -> None:
    async with Gateway(raw) as gateway:
        one = await opened(raw, gateway)
    standing.seconds += 2.9
    assert (await raw.call("POST", f"/interactions/{one['id']}/wrong/callback", {"type": 5}))[1]["code"] == 10062
    assert (await raw.call("GET", f"/webhooks/{BOT_ID}/{one['token']}/messages/@original"))[1]["code"] == 10015
    assert (await raw.call("POST", f"/interactions/{one['id']}/{one['token']}/callback", {"type": 5}))[0] == 204
    assert raw.server.violations == []


# gateway


class Gateway:
    """A gateway connection, plain or compressed."""

    def __init__(self, raw: Raw, *, query: str = "?v=10&encoding=json", intents: int | None = GUILDS | GUILD_MESSAGES):
        self.raw = raw
        self.query = query
        self.intents = intents
        self.inflate = zlib.decompressobj()
        self.frames: list[aiohttp.WSMsgType] = []
        self.sequence: int | None = None
        self.session_id = ""

    async def __aenter__(self) -> "Gateway":
        self.socket = await self.raw.session.ws_connect(self.raw.server.gateway_url + self.query)
        self.hello = await self.receive()
        if self.intents is not None:
            await self.identify(intents=self.intents)
            self.session_id = (await self.event("READY"))["session_id"]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.socket.close(code=4000)

    async def send(self, op: int, data: Any) -> None:
        await self.socket.send_json({"op": op, "d": data})

    async def identify(self, token: str = "sandbox", intents: Any = GUILDS) -> None:
        await self.send(2, {"token": token, "intents": intents, "properties": {}})

    async def resume(self, session_id: str, sequence: Any) -> None:
        await self.send(6, {"token": "sandbox", "session_id": session_id, "seq": sequence})

    async def receive(self) -> dict:
        async with asyncio.timeout(5):
            message = await self.socket.receive()
        self.frames.append(message.type)
        data = message.data
        if message.type is aiohttp.WSMsgType.BINARY:
            assert data.endswith(b"\x00\x00\xff\xff")
            data = self.inflate.decompress(data)
        payload = json.loads(data)
        self.sequence = payload.get("s") or self.sequence
        return payload

    async def event(self, name: str) -> dict:
        while (payload := await self.receive())["t"] != name:
            pass
        return payload["d"]

    async def closed(self) -> int | None:
        async with asyncio.timeout(5):
            while (await self.socket.receive()).type is not aiohttp.WSMsgType.CLOSE:
                pass
        return self.socket.close_code


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
        assert guild["id"] == GUILD_ID and len(guild["members"]) == 4
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


# CDN


async def test_cdn_needs_the_signature_and_ends(raw: Raw, standing: StandingTime) -> None:
    _, body, _ = await raw.call("POST", MESSAGES, {}, files={"files[0]": b"<script>"})
    url = body["attachments"][0]["url"]
    async with raw.session.get(url) as response:
        assert await response.read() == b"<script>"
        assert "sandbox" in response.headers["Content-Security-Policy"]
    async with raw.session.get(url[:-1] + ("0" if url[-1] != "0" else "1")) as response:
        assert response.status == 403
    async with raw.session.get(url.split("?")[0]) as response:
        assert response.status == 403
    standing.seconds += 26 * 3600
    async with raw.session.get(url) as response:
        assert response.status == 404
    _, again, _ = await raw.call("GET", f"{MESSAGES}/{body['id']}")
    async with raw.session.get(again["attachments"][0]["url"]) as response:
        assert response.status == 200


# people


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
        ("clock", {"advance": -1}, 400),
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


# Discord's description


@needs_spec
@pytest.mark.parametrize(
    ("method", "path", "body", "where"),
    [
        ("POST", MESSAGES, {"content": "x", "embeds": [{"title": 5}]}, ["embeds", "0", "title"]),
        (
            "POST",
            MESSAGES,
            {"content": "x", "components": [{"type": 1, "components": [{"type": 2, "style": 1, "label": "x" * 81}]}]},
            ["components", "0", "components", "0", "label"],
        ),
        ("PUT", f"/applications/{BOT_ID}/commands", [{"name": "a", "description": "x" * 101}], ["0", "description"]),
        ("POST", "/users/@me/channels", {"recipient_id": []}, ["recipient_id"]),
    ],
)
async def test_description_names_the_offending_place(
    checked: Raw, method: str, path: str, body: Any, where: list[str]
) -> None:
    status, answer, _ = await checked.call(method, path, body)
    assert (status, answer["code"]) == (400, 50035)
    node = answer["errors"]
    for step in where:
        assert list(node) == [step]
        node = node[step]
    assert node["_errors"] and set(checked.rules()) == {"openapi"}


@needs_spec
async def test_description_checks_payload_json_of_uploads(checked: Raw) -> None:
    status, _, _ = await checked.call("POST", MESSAGES, {"content": 5}, files={"files[0]": b"x"})
    assert status == 400 and checked.rules() == ["openapi"]
    payload = {"attachments": [{"id": 0, "filename": "a.png"}]}
    assert (await checked.call("POST", MESSAGES, payload, files={"files[0]": b"x"}))[0] == 200


@needs_spec
async def test_route_that_only_discord_has_is_named(checked: Raw) -> None:
    status, body, _ = await checked.call("POST", f"/channels/{ART_ID}/threads", {"name": "x"})
    assert status == 501 and "sandbox has no POST" in body["message"]
    assert checked.rules() == ["not-in-sandbox"]


TEXT = {"type": 10, "content": "t"}
PRESSABLE = {"type": 2, "style": 1, "label": "U1", "custom_id": "u1"}
GALLERY = {"type": 12, "items": [{"media": {"url": "attachment://a.png"}}]}
SECTION = {"type": 9, "components": [TEXT], "accessory": {"type": 11, "media": {"url": "https://example.org/a.png"}}}
LAYOUT = [{"type": 17, "components": [TEXT, GALLERY, {"type": 14}]}, SECTION, {"type": 1, "components": [PRESSABLE]}]


async def ill_fitting(raw: Raw, method: str, path: str, body: Any = None, **files: Any) -> list[str]:
    """What Discord's description says against our answer."""
    status, answer, _ = await raw.call(method, path, body, **files)
    problems = Spec(SPEC).response_problems(method, path.split("?")[0], status, answer)
    return [f"{status}", *(f"{problem.path}: {problem.message}" for problem in problems)]


@needs_spec
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", f"/applications/{BOT_ID}/commands", [{"name": "a", "description": "d"}, {"name": "B", "type": 3}]),
        ("GET", MESSAGES, None),
        ("POST", MESSAGES, {"content": f"<@{BEA_ID}>", "embeds": [{"title": "t"}], "nonce": "1"}),
        ("GET", f"/channels/{ART_ID}", None),
        ("POST", "/users/@me/channels", {"recipient_id": BEA_ID}),
        ("GET", "/users/@me", None),
        ("GET", f"/users/{BEA_ID}", None),
        ("GET", f"/guilds/{GUILD_ID}", None),
        ("GET", f"/guilds/{GUILD_ID}/roles", None),
        ("GET", f"/guilds/{GUILD_ID}/channels", None),
        ("GET", f"/guilds/{GUILD_ID}/members/{BEA_ID}", None),
        ("GET", "/oauth2/applications/@me", None),
        ("GET", "/gateway/bot", None),
    ],
)
async def test_our_answers_fit_the_description(checked: Raw, method: str, path: str, body: Any) -> None:
    await checked.human("POST", "messages", {"user": BEA_ID, "channel": ART_ID, "content": "x"})
    assert await ill_fitting(checked, method, path, body) == ["200"]


@needs_spec
async def test_our_messages_fit_the_description_through_every_route(checked: Raw) -> None:
    layout = {"flags": 1 << 15, "components": LAYOUT}
    assert await ill_fitting(checked, "POST", MESSAGES, layout, files={"files[0]": b"x"}) == ["200"]
    _, posted, _ = await checked.call("GET", MESSAGES)
    reply = {"content": "r", "message_reference": {"message_id": posted[0]["id"]}}
    assert await ill_fitting(checked, "POST", MESSAGES, reply) == ["200"]
    async with Gateway(checked) as gateway:
        one, two = await opened(checked, gateway), await opened(checked, gateway)
    callback = f"/interactions/{one['id']}/{one['token']}/callback?with_response=1"
    assert await ill_fitting(checked, "POST", callback, {"type": 4, "data": {"content": "x"}}) == ["200"]
    callback = f"/interactions/{two['id']}/{two['token']}/callback?with_response=1"
    assert await ill_fitting(checked, "POST", callback, {"type": 5}) == ["200"]
    webhook = f"/webhooks/{BOT_ID}/{two['token']}"
    assert await ill_fitting(checked, "PATCH", f"{webhook}/messages/@original", {"content": "y"}) == ["200"]
    assert await ill_fitting(checked, "POST", webhook, {"content": "z"}) == ["200"]
    assert checked.server.violations == []


# time


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


# the program


async def test_program_prints_where_it_is_and_ends_on_sigterm() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sandbox", "--port", "0", "--token", "t", stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2], env={**os.environ, "PYTHONPATH": ""},
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
