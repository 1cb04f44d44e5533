"""What a member reads when something is refused, and that answering never fails itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import aiohttp
import pytest

from bot.errors import NotAdmin, answer, explain
from bot.service.errors import InvalidParameter

MAX_EMBED_CHARS = 6000


def test_longest_refusal_fits_an_embed() -> None:
    embed = explain(InvalidParameter("x" * 9000), typed="/imagine prompt: " + "y" * 6000)
    assert len(embed) <= MAX_EMBED_CHARS
    assert embed.description
    assert embed.footer.text


def test_refusal_without_words_says_what_its_class_says() -> None:
    embed = explain(NotAdmin())
    assert (embed.title, embed.description) == ("Admins only", NotAdmin.__doc__)


@pytest.mark.parametrize("failure", [aiohttp.ServerDisconnectedError(), ConnectionResetError("reset")])
async def test_answer_that_gets_lost_is_logged_not_raised(failure: Exception, caplog: pytest.LogCaptureFixture) -> None:
    response = SimpleNamespace(is_done=lambda: False, send_message=AsyncMock(side_effect=failure))
    interaction: Any = SimpleNamespace(id=7, command=None, response=response)
    await answer(interaction, InvalidParameter("no"))
    assert "could not answer interaction 7" in caplog.text
