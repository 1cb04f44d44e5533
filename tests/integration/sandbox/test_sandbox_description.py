"""Discord's own OpenAPI description: what it refuses, and that the sandbox's answers fit it."""

from typing import Any

import pytest

from sandbox.spec import Spec
from sandbox.world import ART_ID, BEA_ID, BOT_ID, GUILD_ID
from tests.integration.sandbox.wire import MESSAGES, SPEC, Gateway, Raw, needs_spec, opened


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
    status, body, _ = await checked.call("POST", f"/channels/{ART_ID}/invites", {})
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
async def test_our_threads_fit_the_description(checked: Raw) -> None:
    asked = {"name": "x", "type": 12, "invitable": False, "auto_archive_duration": 10080, "rate_limit_per_user": None}
    assert await ill_fitting(checked, "POST", f"/channels/{ART_ID}/threads", asked) == ["201"]
    [thread] = checked.server.state.world.threads()
    place = f"/channels/{thread.id}"
    fine = ["200"]
    assert await ill_fitting(checked, "PUT", f"{place}/thread-members/{BEA_ID}") == ["204"]
    assert await ill_fitting(checked, "GET", f"{place}/thread-members/{BEA_ID}?with_member=true") == fine
    assert await ill_fitting(checked, "GET", f"{place}/thread-members") == fine
    assert await ill_fitting(checked, "GET", f"/guilds/{GUILD_ID}/threads/active") == fine
    assert await ill_fitting(checked, "GET", f"{place}/messages") == fine
    assert await ill_fitting(checked, "GET", place) == fine
    assert await ill_fitting(checked, "PATCH", place, {"archived": True}) == fine
    assert await ill_fitting(checked, "GET", f"/channels/{ART_ID}/users/@me/threads/archived/private") == fine
    assert await ill_fitting(checked, "GET", f"/channels/{ART_ID}/threads/archived/public") == fine
    assert checked.server.violations == []


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
