"""The address of a job's messages, for people to click on."""

from __future__ import annotations

from bot.service.rows import Job


def job_link(job: Job, message_id: int | None = None) -> str:
    """The address of the job's result, or of another message about it in the job's channel."""
    return f"https://discord.com/channels/{job.guild_id}/{job.channel_id}/{message_id or job.result_message_id}"
