"""Modals. They are sent already stopped, like views: a submit is found by its custom_id alone, also after a restart."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import discord
from discord import ui

from bot.access import require_served
from bot.errors import WrongInput, answer
from bot.replies import in_time, reply

if TYPE_CHECKING:
    from bot.client import Limner

FORGET: Final = "privacy:delete"
WORD: Final = "DELETE"
CONSEQUENCES: Final = (
    "All your pictures, prompts and preferences are deleted, your waiting and running jobs are cancelled, and the "
    "messages that show your results are removed. Your remaining credits are forfeited. This can't be undone.\n"
    "What you paid stays in the books, but no longer under your name. You won't get welcome credits again. "
    "If a server has banned you, that stays.\n"
    "`/privacy export` gives you a copy first."
)
FORGETTING: Final = (
    "Your data is being deleted. Jobs under way are stopped first; your pictures go within a minute, "
    "the bot's messages to you follow one by one. You may use the bot again at any time, as a new member."
)


def ask_to_forget() -> ui.Modal:
    """Asks the member to type a word, so that nobody does it by accident."""
    modal = ui.Modal(title="Delete my data", custom_id=FORGET)
    modal.add_item(ui.TextDisplay(CONSEQUENCES))
    typed: ui.TextInput[ui.Modal] = ui.TextInput(custom_id="word", max_length=20, placeholder=WORD)
    modal.add_item(ui.Label(text=f"Type {WORD} to confirm", component=typed))
    modal.stop()
    return modal


async def submitted(interaction: discord.Interaction[Any]) -> bool:
    """Answer a submitted modal. False, and nothing done, when it is none of ours."""
    data: Any = interaction.data or {}
    action = _ACTIONS.get(str(data.get("custom_id", "")))
    if action is None:
        return False
    try:
        require_served(interaction)
        await action(interaction, dict(_texts(data.get("components", []))))
    except Exception as error:
        await answer(interaction, error)
    return True


async def _forget(interaction: discord.Interaction[Limner], texts: dict[str, str]) -> None:
    if texts.get("word", "").strip() != WORD:
        raise WrongInput(f"Nothing was deleted: to confirm, run `/privacy delete` again and type `{WORD}`.")
    desk = interaction.client.desk
    await in_time(interaction, desk.privacy.request(interaction.user.id))
    desk.housekeeper.wake()  # before the answer, which may fail
    await reply(interaction, FORGETTING)


def _texts(components: Any) -> Iterator[tuple[str, str]]:
    """What was typed, by the input's custom_id; labels and rows are looked into."""
    for component in components:
        if "value" in component:
            yield str(component["custom_id"]), str(component["value"])
        yield from _texts(component.get("components", []))
        if "component" in component:
            yield from _texts([component["component"]])


_ACTIONS: Final[dict[str, Callable[[discord.Interaction[Any], dict[str, str]], Awaitable[None]]]] = {FORGET: _forget}
