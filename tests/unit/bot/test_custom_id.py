"""Buttons carry their whole state, and nothing else passes for one."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.components.custom_id import (
    ACTIONS,
    MAX_PAGE,
    STATEMENT_FILE,
    TEMPLATE,
    ButtonId,
    decode,
    decode_offer,
    decode_statement,
    encode,
    encode_offer,
    encode_statement,
    is_ours,
    offer_template,
)

JOB_ID = "1234567890123456789-0"

BUTTONS = st.builds(
    lambda action, interaction, n, index: ButtonId(
        action, f"{interaction}-{n}", index if action in ("upscale", "variation") else 0
    ),
    st.sampled_from(ACTIONS),
    st.integers(1, 2**64 - 1),
    st.integers(0, 999),
    st.integers(1, 4),
)


@pytest.mark.parametrize(
    ("button", "text"),
    [
        (ButtonId("upscale", JOB_ID, 2), f"job:upscale:{JOB_ID}:2"),
        (ButtonId("variation", JOB_ID, 4), f"job:variation:{JOB_ID}:4"),
        (ButtonId("reroll", JOB_ID, 0), f"job:reroll:{JOB_ID}:0"),
        (ButtonId("cancel", JOB_ID, 0), f"job:cancel:{JOB_ID}:0"),
    ],
)
def test_encode_writes_the_agreed_form(button: ButtonId, text: str) -> None:
    assert encode(button) == text


@given(BUTTONS)
def test_decode_is_the_inverse_of_encode(button: ButtonId) -> None:
    text = encode(button)
    assert decode(text) == button
    assert len(text) <= 43
    match = re.fullmatch(TEMPLATE, text)
    assert match is not None
    assert match.groupdict() == {"action": button.action, "job_id": button.job_id, "index": str(button.index)}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "job:",
        "MJ::JOB::upsample::1::x",
        f"job:delete:{JOB_ID}:1",
        f"job:upscale:{JOB_ID}:0",
        f"job:upscale:{JOB_ID}:5",
        f"job:variation:{JOB_ID}:12",
        f"job:reroll:{JOB_ID}:1",
        f"job:cancel:{JOB_ID}:4",
        f"job:upscale:{JOB_ID}:",
        f"job:upscale:{JOB_ID}:1:1",
        f" job:upscale:{JOB_ID}:1",
        f"job:upscale:{JOB_ID}:1\n",
        f"JOB:upscale:{JOB_ID}:1",
        "job:upscale:123:1",
        "job:upscale:0123-0:1",
        "job:upscale:123-00:1",
        "job:upscale:../etc-0:1",
        "job:upscale:١٢٣-0:1",
        f"job:upscale:{JOB_ID}:١",
        f"job:upscale:{'9' * 21}-0:1",
    ],
)
def test_decode_refuses_what_encode_never_makes(text: str) -> None:
    with pytest.raises(ValueError, match=r"button|index"):
        decode(text)


@pytest.mark.parametrize(
    "parts", [("delete", JOB_ID, 0), ("upscale", JOB_ID, 0), ("upscale", "x:1", 1), ("reroll", JOB_ID, -1)]
)
def test_button_that_makes_no_sense_cant_be_made(parts: tuple[str, str, int]) -> None:
    with pytest.raises(ValueError, match=r"action|index|job id"):
        ButtonId(*parts)


@given(st.text())
def test_decode_raises_nothing_but_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="none of our buttons"):
        decode(text)


@given(st.integers(0, MAX_PAGE))
def test_pages_of_a_statement_come_back(page: int) -> None:
    assert decode_statement(encode_statement(page)) == page
    assert is_ours(encode_statement(page))


@pytest.mark.parametrize("page", [-1, MAX_PAGE + 1])
def test_pages_have_an_end(page: int) -> None:
    with pytest.raises(ValueError, match="pages"):
        encode_statement(page)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "account:",
        "account:statement:",
        "account:statement:-1",
        "account:statement:01",
        "account:statement:1000",
        "account:statement:١",
        "account:csv:1",
        "job:upscale:12-1:0",
        f"job:cancel:{JOB_ID}:4",
        "offer:confirm:",
        "offer:confirm:0",
        "offer:accept:12",
        "offer:cancel:12:1",
        f"offer:confirm:{10**20}",
    ],
)
def test_what_only_looks_like_ours_is_not(text: str) -> None:
    assert not is_ours(text)


def test_every_kind_of_button_is_ours() -> None:
    assert is_ours(encode(ButtonId("upscale", JOB_ID, 2)))
    assert is_ours(STATEMENT_FILE)
    assert is_ours(encode_offer("cancel", 12))


@given(st.sampled_from(["confirm", "cancel"]), st.integers(1, 2**63))
def test_offers_come_back(answer: str, offer_id: int) -> None:
    custom_id = encode_offer(answer, offer_id)
    assert decode_offer(custom_id) == offer_id
    assert re.fullmatch(offer_template(answer), custom_id)


@pytest.mark.parametrize(("answer", "offer_id"), [("accept", 12), ("confirm", 0), ("confirm", -1), ("cancel", 10**20)])
def test_what_answers_no_offer_is_a_mistake(answer: str, offer_id: int) -> None:
    with pytest.raises(ValueError, match="answers no offer"):
        encode_offer(answer, offer_id)
