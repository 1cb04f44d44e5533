"""Whose turn it is: the queued jobs in the order in which `jobs.claim` will take them. Claims none itself."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from heapq import heapify, heappop, heappush

from sqlalchemy.ext.asyncio import AsyncSession

from db import jobs
from db.models import Job, JobState


async def in_turn(session: AsyncSession) -> Sequence[Job]:
    """The queued jobs in the order in which they will be claimed.

    Plays the claims through, as if no job ended and none came meanwhile: each claim makes its member's next one wait
    for the others. The queue is short (limits.py), so this is cheaper than asking the database to do it.
    """
    waiting = await jobs.in_state(session, JobState.QUEUED)
    running: Counter[int] = Counter(job.member_id for job in await jobs.in_state(session, JobState.RUNNING))
    return [job for lane in jobs.LANES for job in _turns([job for job in waiting if job.lane == lane], running)]


def _turns(waiting: Iterable[Job], running: Counter[int]) -> Iterator[Job]:
    """The jobs of a lane, given oldest first, as they will be claimed; each counts as running from then on.

    Of each member only the oldest can be next, so those alone are compared.
    """
    queues: dict[int, deque[Job]] = {}
    for job in waiting:
        queues.setdefault(job.member_id, deque()).append(job)
    heads = [(running[member], queue[0].created_at, queue[0].id, member) for member, queue in queues.items()]
    heapify(heads)
    while heads:
        *_, member = heappop(heads)
        queue = queues[member]
        running[member] += 1
        yield queue.popleft()
        if queue:
            heappush(heads, (running[member], queue[0].created_at, queue[0].id, member))
