"""What members may ask for, and who may ask: block-lists, bans, a guild's choices, the record of decisions.

The studio asks `screen` and `refuse_banned` before it accepts an order; admins do the rest. Every decision writes its
audit in the same transaction, under an id derived from the interaction, so that a retry is the same decision.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from bot.service import bans
from bot.service.actions import JobAction
from bot.service.bans import BanOutcome
from bot.service.errors import InvalidParameter
from bot.service.limits import MAX_REASON_CHARS
from bot.service.moderation_errors import Banned, BannedPrompt
from bot.service.orders import Order
from bot.service.pages import Page, cut, window
from bot.service.planning import Outline
from bot.service.rules import Rules
from bot.service.storage import Storage
from db import audits, blocklist
from db import bans as ban_rows
from db.models import Job
from db.moderation_tables import Audit, FlaggedPolicy, Moderation, Rule, RuleAction
from db.session import Database

__all__ = ["FlaggedPolicy", "Moderator", "RuleAction"]

_SEVERITY = {RuleAction.WARN: 0, RuleAction.BLOCK: 1, RuleAction.BAN: 2}


class Moderator:
    """One per process. `rules` are the guilds' block-lists."""

    def __init__(self, database: Database, storage: Storage, *, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._storage = storage
        self._clock = clock
        self.rules = Rules(database, clock=clock)

    # What the studio asks

    async def refuse_banned(self, session: AsyncSession, order: Order) -> None:
        """Raises Banned."""
        await bans.refuse_banned(session, order.guild_id, order.member_id, now=self._clock())

    async def screen(self, order: Order, outline: Outline) -> tuple[str, ...]:
        """Compare the words that the order would draw with the guild's rules. Returns the phrases to warn of.

        An upscale draws nothing. Raises BannedPrompt, after the decision is written down; it may ban the member.
        """
        if order.action is JobAction.UPSCALE:
            return ()
        texts = dict.fromkeys(text for recipe in outline.recipes for text in (recipe.prompt, recipe.negative_prompt))
        compiled = await self.rules.compiled(order.guild_id)
        places = sorted({place for text in texts for place in compiled.words.find(text).phrases})
        found = [compiled.rules[place] for place in places]
        worst = max(found, key=lambda rule: (_SEVERITY[RuleAction(rule.action)], rule.ban_s or 0), default=None)
        if worst is not None and worst.action != RuleAction.WARN:
            await self._refuse(order, worst)
        return tuple(rule.phrase for rule in found)

    async def note_warnings(self, session: AsyncSession, jobs: Sequence[Job], phrases: Sequence[str]) -> None:
        """Write down that the order was accepted with a warning."""
        if phrases:
            await self._note(session, "warn", jobs[0], ", ".join(phrases))

    async def note_flagged(self, session: AsyncSession, job: Job, withheld: int) -> None:
        """Write down that pictures of the job were withheld."""
        if withheld:
            what = "1 picture withheld" if withheld == 1 else f"{withheld} pictures withheld"
            await self._note(session, "flagged", job, what)

    async def _note(self, session: AsyncSession, action: str, job: Job, what: str) -> None:
        """What happened to a job by itself, once: no admin decided it."""
        await audits.add(
            session,
            f"{action}:{job.id}",
            action,
            now=self._clock(),
            guild_id=job.guild_id,
            member_id=job.member_id,
            job_id=job.id,
            reason=what,
        )

    async def _refuse(self, order: Order, rule: Rule) -> None:
        """Raises BannedPrompt."""
        id, guild_id, member_id = f"block:{order.interaction_id}", order.guild_id, order.member_id
        reason = f"block-list: {rule.phrase}"
        outcome: BanOutcome | None = None
        async with self._database.write() as session:
            await audits.add(
                session, id, "block", now=self._clock(), guild_id=guild_id, member_id=member_id, reason=reason
            )
            # Who could lift the ban at once is only refused.
            if rule.ban_s is not None and not order.by_admin:
                outcome = await bans.ban(
                    session,
                    guild_id,
                    member_id,
                    timedelta(seconds=rule.ban_s),
                    reason=reason,
                    by=None,
                    id=f"{id}/ban",
                    now=self._clock(),
                )
        if outcome is not None:
            await self._drop_inputs(outcome.cancelled)
        raise BannedPrompt(rule.phrase, banned=Banned(outcome.until, reason) if outcome is not None else None)

    # Bans

    async def check_banned(self, guild_id: int, member_id: int) -> None:
        """Raises Banned while a ban of the member holds; a mute refuses orders only."""
        async with self._database.read() as session:
            await bans.refuse_banned(session, guild_id, member_id, now=self._clock(), orders=False)

    async def ban(
        self,
        guild_id: int,
        member_id: int,
        length: timedelta | None,
        *,
        reason: str,
        by: int,
        id: str,
        mute: bool = False,
    ) -> BanOutcome:
        """Keep the member out, or with `mute` from ordering; the last word counts, also when it shortens or a mute
        takes the place of a ban. Wake the dispatcher afterwards.

        Raises CannotBan, InvalidParameter.
        """
        if len(reason) > MAX_REASON_CHARS:
            raise InvalidParameter(f"`reason` has {len(reason)} characters; at most {MAX_REASON_CHARS} are allowed.")
        async with self._database.write() as session:
            outcome = await bans.ban(
                session,
                guild_id,
                member_id,
                length,
                reason=reason,
                by=by,
                id=id,
                now=self._clock(),
                shorten=True,
                mute=mute,
            )
        await self._drop_inputs(outcome.cancelled)
        return outcome

    async def unban(self, guild_id: int, member_id: int, *, by: int, id: str) -> None:
        """Let the member in again. Raises InvalidParameter when they are neither banned nor muted."""
        async with self._database.write() as session:
            held = await ban_rows.active(session, guild_id, member_id, now=self._clock())
            if held is None:
                raise InvalidParameter("This member is neither banned nor muted here.")
            await ban_rows.lift(session, guild_id, member_id)
            await audits.add(
                session, id, "unban", now=self._clock(), guild_id=guild_id, actor_id=by, member_id=member_id
            )

    # A guild's choices

    async def choices(self, guild_id: int) -> Moderation:
        """The moderators' channel and what happens to flagged pictures."""
        async with self._database.read() as session:
            return await blocklist.choices(session, guild_id)

    async def set_channel(self, guild_id: int, channel_id: int | None, *, by: int, id: str) -> None:
        """Where reports go; None takes none."""
        async with self._database.write() as session:
            (await blocklist.change(session, guild_id)).channel_id = channel_id
            what = f"reports go to channel {channel_id}" if channel_id is not None else "no reports"
            await audits.add(session, id, "moderation", now=self._clock(), guild_id=guild_id, actor_id=by, reason=what)

    async def set_flagged(self, guild_id: int, policy: FlaggedPolicy, *, by: int, id: str) -> None:
        """What happens to flagged pictures from now on."""
        async with self._database.write() as session:
            (await blocklist.change(session, guild_id)).flagged = policy.value
            what = f"flagged: {policy.value}"
            await audits.add(session, id, "moderation", now=self._clock(), guild_id=guild_id, actor_id=by, reason=what)

    async def audit_page(self, guild_id: int, number: int, *, member_id: int | None = None) -> Page[Audit]:
        """What was decided, newest first; with `member_id` only by or about that member."""
        async with self._database.read() as session:
            return cut(number, await audits.page(session, guild_id, member_id=member_id, **window(number)))

    async def _drop_inputs(self, job_ids: Sequence[str]) -> None:
        for job_id in job_ids:
            await asyncio.to_thread(self._storage.delete_inputs, job_id)
