"""How many jobs a member, and everybody, may have under way."""

from __future__ import annotations

import pytest

from bot.service.errors import QueueFull
from bot.service.limits import MAX_WAITING, check_queue


@pytest.mark.parametrize(("mine", "waiting", "new"), [(0, 0, 10), (9, 9, 1), (0, MAX_WAITING - 1, 1)])
def test_queue_takes_jobs_up_to_the_limits(mine: int, waiting: int, new: int) -> None:
    check_queue(mine=mine, waiting=waiting, new=new)


@pytest.mark.parametrize(("mine", "new"), [(10, 1), (9, 2), (0, 11)])
def test_queue_refuses_an_eleventh_job_of_a_member(mine: int, new: int) -> None:
    with pytest.raises(QueueFull, match=f"{mine} of 10 jobs") as refusal:
        check_queue(mine=mine, waiting=0, new=new)
    assert refusal.value.title == "Queue full"


def test_queue_refuses_more_than_a_hundred_waiting_jobs() -> None:
    with pytest.raises(QueueFull, match="99 of 100 places"):
        check_queue(mine=0, waiting=99, new=2)
