"""A guild's block-list: its edits, its pages, its compiled form. What a match leads to is decided in moderation.py."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from bot.service import wordlist
from bot.service.errors import InvalidParameter
from bot.service.limits import MAX_RULES
from bot.service.pages import Page, cut, window
from bot.service.wordlist import UnlistablePhrase, Wordlist
from db import audits, blocklist
from db.moderation_tables import Rule, RuleAction
from db.session import Database

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Compiled:
    """`words` finds places in `rules`."""

    revision: int
    rules: tuple[Rule, ...]
    words: Wordlist


class Rules:
    """One per process. Keeps each guild's rules compiled while the guild's revision says that they are right."""

    def __init__(self, database: Database, *, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock
        self._compiled: dict[int, Compiled] = {}

    async def compiled(self, guild_id: int) -> Compiled:
        """The guild's rules as they are now."""
        async with self._database.read() as session:
            revision = await blocklist.revision(session, guild_id)
            compiled = self._compiled.get(guild_id)
            if compiled is not None and compiled.revision == revision:
                return compiled
            rules = [rule for rule in await blocklist.rules(session, guild_id) if _is_listable(rule)]
        words = await asyncio.to_thread(Wordlist, [rule.phrase for rule in rules])
        self._compiled[guild_id] = Compiled(revision, tuple(rules), words)
        return self._compiled[guild_id]

    async def add(
        self, guild_id: int, phrase: str, action: RuleAction, ban: timedelta | None, *, by: int, id: str
    ) -> None:
        """Forbid a word or phrase. `ban` goes with the action BAN and only with it. Raises InvalidParameter."""
        ban_s = _ban_seconds(action, ban)
        phrase = phrase.strip()
        rule = self._rule(guild_id, phrase, _key(phrase, "`phrase` can't be used"), action, ban_s, by)
        async with self._database.write() as session:
            if await blocklist.get(session, guild_id, rule.key) is not None:
                raise InvalidParameter("This is on the block-list already. To change what it does, remove it first.")
            await _check_room(session, guild_id, 1)
            await blocklist.add(session, [rule])
            await audits.add(
                session,
                id,
                "blocklist add",
                now=self._clock(),
                guild_id=guild_id,
                actor_id=by,
                reason=f"{phrase} ({action.value})",
            )

    async def add_file(
        self, guild_id: int, file: bytes, action: RuleAction, ban: timedelta | None, *, by: int, id: str
    ) -> tuple[int, int]:
        """Forbid every line of a text file: how many were added, and how many were listed before.

        Empty lines and lines that begin with # are left out. Raises InvalidParameter that names the line; then nothing
        was added.
        """
        ban_s = _ban_seconds(action, ban)
        keys = await asyncio.to_thread(_read_list, file)
        async with self._database.write() as session:
            known = {rule.key for rule in await blocklist.rules(session, guild_id)}
            new = [
                self._rule(guild_id, phrase, key, action, ban_s, by) for key, phrase in keys.items() if key not in known
            ]
            await _check_room(session, guild_id, len(new))
            if new:
                await blocklist.add(session, new)
                what = f"{len(new)} phrases ({action.value})"
                await audits.add(
                    session, id, "blocklist import", now=self._clock(), guild_id=guild_id, actor_id=by, reason=what
                )
        return len(new), len(keys) - len(new)

    async def remove(self, guild_id: int, phrase: str, *, by: int, id: str) -> str:
        """Allow it again; returns it as it was listed. Raises InvalidParameter."""
        spelled = _key(phrase, "`phrase` can't be on the block-list")
        async with self._database.write() as session:
            rule = await blocklist.get(session, guild_id, spelled)
            if rule is None:
                raise InvalidParameter("This isn't on the block-list. `/admin blocklist list` shows what is.")
            listed = rule.phrase
            await blocklist.remove(session, rule)
            await audits.add(
                session, id, "blocklist remove", now=self._clock(), guild_id=guild_id, actor_id=by, reason=listed
            )
        return listed

    async def page(self, guild_id: int, number: int) -> Page[Rule]:
        """Some of the rules, by what they are compared by."""
        async with self._database.read() as session:
            return cut(number, await blocklist.page(session, guild_id, **window(number)))

    def _rule(self, guild_id: int, phrase: str, key: str, action: RuleAction, ban_s: int | None, by: int) -> Rule:
        return Rule(
            guild_id=guild_id,
            key=key,
            phrase=phrase,
            action=action.value,
            ban_s=ban_s,
            created_by=by,
            created_at=self._clock(),
        )


def _is_listable(rule: Rule) -> bool:
    """A version that reads phrases otherwise must not stop every order at one of them."""
    try:
        wordlist.key(rule.phrase)
    except UnlistablePhrase as error:
        log.warning("guild %d: the rule %d can't be used any more: %s", rule.guild_id, rule.id, error)
        return False
    return True


def _key(phrase: str, complaint: str) -> str:
    try:
        return wordlist.key(phrase)
    except UnlistablePhrase as error:
        raise InvalidParameter(f"{complaint}: {error}.") from error


def _read_list(file: bytes) -> dict[str, str]:
    """The phrases of the file by key. Raises InvalidParameter."""
    try:
        lines = file.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidParameter("`file` isn't text in UTF-8. Save it as UTF-8, one word or phrase a line.") from error
    keys: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if (phrase := line.strip()) and not phrase.startswith("#"):
            keys.setdefault(_key(phrase, f"Line {number} of `file` can't be used"), phrase)
    if not keys:
        raise InvalidParameter("`file` has no word or phrase. Write one a line.")
    return keys


def _ban_seconds(action: RuleAction, ban: timedelta | None) -> int | None:
    if (action is RuleAction.BAN) != (ban is not None):
        raise InvalidParameter(
            "The action `ban` needs `duration`, such as `1h`."
            if ban is None
            else "`duration` goes with the action `ban` only. Leave it out, or choose that action."
        )
    return round(ban.total_seconds()) if ban is not None else None


async def _check_room(session: AsyncSession, guild_id: int, new: int) -> None:
    there = await blocklist.count(session, guild_id)
    if there + new > MAX_RULES:
        raise InvalidParameter(
            f"The block-list holds {there} of {MAX_RULES} phrases and this adds {new}. Remove some first."
        )
