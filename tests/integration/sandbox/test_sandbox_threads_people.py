"""What people see of threads and do in them, and what tests may do to threads."""

import pytest

from sandbox.world import ADA_ID, ART_ID, BEA_ID, BOT_ID, CARL_ID
from tests.integration.sandbox.threads import PRIVATE, grant, moderate, start
from tests.integration.sandbox.wire import Gateway, Raw, opened


async def test_private_thread_is_closed_to_those_who_are_not_in_it(raw: Raw) -> None:
    thread = await start(raw, members=(BEA_ID,))
    _, message, _ = await raw.call("POST", f"/channels/{thread['id']}/messages", {"content": "secret"})
    await raw.call("PUT", f"/applications/{BOT_ID}/commands", [{"name": "ping", "description": "d"}])
    place = {"channel": thread["id"], "message": message["id"]}
    deeds = [
        ("POST", "messages", {"content": "x"}),
        ("POST", "interactions", {"command": "ping"}),
        ("POST", "press", {"custom_id": "u1"}),
        ("POST", "menu", {"command": "ping"}),
        ("POST", "reactions", {"emoji": "🔄"}),
        ("POST", "autocomplete", {"command": "ping", "focused": "x"}),
    ]
    for method, path, body in deeds:
        status, answer = await raw.human(method, path, place | body | {"user": CARL_ID})
        assert status == 403 and "not in the private thread" in answer["error"]
    read = f"messages?channel={thread['id']}&user="
    assert (await raw.human("GET", read + CARL_ID))[0] == 403
    for who in (BEA_ID, ADA_ID):
        assert (await raw.human("GET", read + who))[1]["messages"][-1]["content"] == "secret"
    await raw.human("POST", "messages", {"user": ADA_ID, "channel": thread["id"], "content": "I look in"})
    [listed] = (await raw.human("GET", "state"))[1]["threads"]
    # Who writes in a thread is in it from then on.
    assert (listed["name"], listed["parent_id"], listed["members"]) == ("Stealth", ART_ID, [BOT_ID, BEA_ID, ADA_ID])
    await moderate(raw, thread, "leave", user=BEA_ID)
    assert (await raw.human("GET", read + BEA_ID))[0] == 403


async def test_page_is_told_of_threads(raw: Raw) -> None:
    async with raw.session.ws_connect(f"{raw.server.url}/human/events") as events:
        thread = await start(raw)
        told = await events.receive_json()
        assert (told["type"], told["thread"]["id"], told["thread"]["members"]) == ("thread", thread["id"], [BOT_ID])
        await moderate(raw, thread, "archive")
        while not told["thread"]["archived"]:
            told = await events.receive_json()
        await moderate(raw, thread, "delete")
        told = await events.receive_json()
    assert told == {"type": "thread_delete", "thread_id": thread["id"], "parent_id": ART_ID}


async def test_press_and_command_open_an_archived_thread(raw: Raw) -> None:
    thread = await start(raw, members=(BEA_ID,))
    await moderate(raw, thread, "archive")
    async with Gateway(raw) as gateway:
        interaction = await opened(raw, gateway, thread["id"])
    assert interaction["channel"]["thread_metadata"]["archived"] is False
    assert (interaction["channel"]["type"], interaction["channel"]["parent_id"]) == (PRIVATE, ART_ID)
    await moderate(raw, thread, "lock")
    body = {"user": BEA_ID, "channel": thread["id"], "command": "ping"}
    status, answer = await raw.human("POST", "interactions", body)
    assert status == 403 and "locked" in answer["error"]


async def test_reaction_opens_an_archived_thread(raw: Raw) -> None:
    thread = await start(raw, members=(BEA_ID,))
    _, message, _ = await raw.call("POST", f"/channels/{thread['id']}/messages", {"content": "x"})
    await moderate(raw, thread, "archive")
    body = {"user": BEA_ID, "channel": thread["id"], "message": message["id"], "emoji": "🔄"}
    assert (await raw.human("POST", "reactions", body))[0] == 201
    assert (await raw.human("GET", "state"))[1]["threads"][0]["archived"] is False


async def test_form_is_not_taken_from_who_has_left_the_thread(raw: Raw) -> None:
    thread = await start(raw, members=(BEA_ID,))
    field = {"type": 18, "label": "Words", "component": {"type": 4, "custom_id": "words", "style": 1}}
    form = {"custom_id": "form", "title": "Form", "components": [field]}
    async with Gateway(raw) as gateway:
        asked = await opened(raw, gateway, thread["id"])
    callback = f"/interactions/{asked['id']}/{asked['token']}/callback"
    assert (await raw.call("POST", callback, {"type": 9, "data": form}))[0] == 204
    await moderate(raw, thread, "leave", user=BEA_ID)
    body = {"user": BEA_ID, "interaction_id": asked["id"], "values": {"words": "x"}}
    assert (await raw.human("POST", "modal", body))[0] == 403


async def test_bot_permissions_in_a_thread_are_those_of_its_channel(raw: Raw) -> None:
    thread = await start(raw, members=(BEA_ID,))
    await grant(raw, deny=("send_messages_in_threads", "attach_files"))
    async with Gateway(raw) as gateway:
        interaction = await opened(raw, gateway, thread["id"])
    permissions = int(interaction["app_permissions"])
    assert not permissions & (1 << 38 | 1 << 15) and permissions & 1 << 11


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"thread": ART_ID, "do": "archive"}, 404),
        ({"thread": "5", "do": "archive"}, 404),
        ({"do": "burn"}, 400),
        ({"do": "leave"}, 400),
        ({"do": "leave", "user": CARL_ID}, 404),
    ],
)
async def test_control_of_threads_refuses_in_words(raw: Raw, body: dict[str, str], status: int) -> None:
    thread = await start(raw)
    got, answer = await raw.human("POST", "threads", {"thread": thread["id"]} | body)
    assert got == status and answer["error"]
