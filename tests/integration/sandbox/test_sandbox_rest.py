"""REST, rate limits, interaction callbacks and the CDN, spoken to without a library."""

import itertools
from typing import Any

import pytest

from sandbox.uploads import MAX_FILE_BYTES
from sandbox.world import ADA_ID, ART_ID, BEA_ID, BOT_ID, GUILD_ID, PRIVATE_ID
from tests.integration.sandbox.wire import MESSAGES, Gateway, Raw, StandingTime, opened


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


async def test_history_that_may_not_be_read_is_empty(raw: Raw) -> None:
    _, message, _ = await raw.call("POST", MESSAGES, {"content": "x"})
    await raw.human("POST", "permissions", {"channel": ART_ID, "deny": ["read_message_history"]})
    assert (await raw.call("GET", MESSAGES))[:2] == (200, [])
    status, body, _ = await raw.call("GET", f"{MESSAGES}/{message['id']}")
    assert (status, body["code"]) == (403, 50013)


async def test_page_can_not_be_framed(raw: Raw) -> None:
    async with raw.session.get(f"{raw.server.url}/") as response:
        assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]


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
