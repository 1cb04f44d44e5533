"""How moderation looks: refusals, notes, notices of reports, pages. Times are Discord's, in each reader's own zone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta

import discord

from bot.delivery.links import job_link
from bot.delivery.render import escape
from bot.replies import BLURPLE
from bot.service.durations import in_words
from bot.service.moderation_errors import Banned, BannedPrompt, ReportDecided
from bot.service.pages import Page
from bot.service.rows import Audit, Job, Report, Rule

YELLOW = 0xFFFF00
MAX_SHOWN_UNITS = 150  # of a reason or phrase in a list: ten lines fit an embed
MAX_PROMPT_UNITS = 1500

# Audits whose words are all ours: what they name by its id is shown by its name.
_NAME_PLACES = frozenset({"limit clear", "limit set", "moderation", "plan assign"})
_PLACE = re.compile(r"\b(?P<kind>channel|role) (?P<id>[0-9]{1,20})\b")
_SIGNS = {"channel": "<#{}>", "role": "<@&{}>"}
_OUTCOMES = {"deleted": "Picture deleted", "banned": "Member banned for a day", "dismissed": "Dismissed"}


def term(until: datetime | None) -> str:
    """Until when, and how long that is from now."""
    return "for good" if until is None else f"until {_time(until, 'f')} ({_time(until, 'R')})"


def banned_text(banned: Banned) -> str:
    """What a banned member reads at every try, a muted one at every order."""
    reason = f" Reason: {escape(banned.reason)}." if banned.reason else ""
    what = (
        "You have been muted: you can't order pictures" if banned.mute else "You have been blocked from using this bot"
    )
    return f"{what} here {term(banned.until)}.{reason}"


def banned_prompt_text(refusal: BannedPrompt) -> str:
    """Names the phrase, so that an honest member can do without it."""
    text = f"This server doesn't allow **{escape(refusal.phrase)}** in prompts. Change the prompt and try again."
    if refusal.banned is None:
        return text
    return f"This server doesn't allow **{escape(refusal.phrase)}** in prompts. {banned_text(refusal.banned)}"


def decided_text(refusal: ReportDecided) -> str:
    """Who was faster."""
    return _decision(refusal.report)


def warning_embed(phrases: Sequence[str]) -> discord.Embed:
    """The private note beside a job that goes on."""
    named = ", ".join(f"**{escape(phrase, max_units=MAX_SHOWN_UNITS)}**" for phrase in phrases[:10])
    text = f"Your job goes on, but this server's moderators ask to do without {named}. They can see that it was used."
    return discord.Embed(title="Please mind the rules", description=text, colour=YELLOW)


def report_embed(job: Job, report: Report) -> discord.Embed:
    """What moderators see of a report."""
    embed = discord.Embed(
        title="Report", description=escape(job.prompt, max_units=MAX_PROMPT_UNITS) or "(no prompt)", colour=YELLOW
    )
    embed.add_field(name="Job by", value=f"<@{job.member_id}>")
    embed.add_field(name="Reported by", value=f"<@{report.reporter_id}>")
    embed.add_field(name="Result", value=job_link(job, report.message_id), inline=False)
    return embed


def decided_embed(embed: discord.Embed, report: Report) -> discord.Embed:
    """The same notice with what became of it."""
    if all(field.name != "Decision" for field in embed.fields):
        embed.add_field(name="Decision", value=_decision(report), inline=False)
    return embed


def rules_embed(page: Page[Rule]) -> discord.Embed:
    """A page of the block-list."""
    lines = [_rule(rule) for rule in page.lines]
    text = "\n".join(lines) or "Nothing is listed. `/admin blocklist add` adds a word or phrase."
    return _page("Block-list", text, page.number)


def audit_embed(page: Page[Audit], member_id: int | None) -> discord.Embed:
    """A page of the audit, newest first."""
    about = f"By and about <@{member_id}>\n" if member_id is not None else ""
    return _page("Audit", about + ("\n".join(_audit(line) for line in page.lines) or "Nothing yet."), page.number)


def _page(title: str, text: str, number: int) -> discord.Embed:
    embed = discord.Embed(title=title, description=text, colour=BLURPLE)
    embed.set_footer(text=f"Page {number + 1}")
    return embed


def _rule(rule: Rule) -> str:
    what = rule.action if rule.ban_s is None else f"ban {in_words(timedelta(seconds=rule.ban_s))}"
    return f"**{escape(rule.phrase, max_units=MAX_SHOWN_UNITS)}** · {what}"


def _audit(audit: Audit) -> str:
    parts = [_time(audit.created_at, "f"), f"**{audit.action}**"]
    parts.append(f"by <@{audit.actor_id}>" if audit.actor_id is not None else "by the bot")
    if audit.member_id is not None:
        parts.append(f"on <@{audit.member_id}>")
    if audit.job_id is not None:
        parts.append(f"job `{audit.job_id}`")
    reason = escape(audit.reason, max_units=MAX_SHOWN_UNITS)
    if audit.action in _NAME_PLACES:
        reason = _PLACE.sub(lambda place: _SIGNS[place["kind"]].format(place["id"]), reason)
    return " ".join(parts) + (f": {reason}" if reason else "")


def _decision(report: Report) -> str:
    when = f" {_time(report.decided_at, 'R')}" if report.decided_at is not None else ""
    return f"{_OUTCOMES.get(report.state, report.state)} by <@{report.decided_by}>{when}."


def _time(moment: datetime, style: str) -> str:
    return f"<t:{int(moment.timestamp())}:{style}>"
