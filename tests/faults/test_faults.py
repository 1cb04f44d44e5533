"""Killed at every point and troubled in every way: what was accepted is delivered once or refunded once.

FAULTS_SEED and FAULTS_CYCLES choose other random cycles; a failure names its seed, cycle and point.
"""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import func, select

from db.models import Job
from sandbox.world import ADA_ID
from tests.faults.chapters import kill_at, recover, take_census
from tests.faults.control import Order
from tests.faults.people import DEEDS
from tests.faults.soak import soak
from tests.faults.world import Broken, World, open_mother, open_world

SEED = os.environ.get("FAULTS_SEED", "limner")
CYCLES = int(os.environ.get("FAULTS_CYCLES", "200"))

# Where a job's life touches the outside, and where people decide something. Others may join them; without one of these
# the sweep would prove less.
LANDMARKS = {
    "commit acceptance.submit",
    "commit studio.set_message",
    "commit studio.claim",
    "commit studio.settle",
    "commit studio.delivered",
    "commit studio.fail",
    "commit studio.delete",
    "commit confirmation.keep",
    "commit office.set_confirm_above",
    "commit office.give_member",
    "commit office.grant_pool",
    "commit office.set_payer",
    "commit moderation.ban",
    "commit moderation._refuse",
    "commit queue_desk.cancel_all",
    "commit reports.file",
    "commit reports.posted",
    "commit reports.decide",
    "commit privacy.request",
    "commit privacy.step",
    "commit privacy.removed",
    "PATCH /webhooks/{id}/{id}/messages/@original",
    "POST /interactions/{id}/{id}/callback",
    "PATCH /channels/{id}/messages/{id}",
    "POST /channels/{id}/messages",
    "DELETE /channels/{id}/messages/{id}",
    "POST /users/@me/channels",
    "GET /cdn/attachments/{id}/{id}/image.png",
    "rename storage.place",
    "replace storage._write",
    "fsync storage._write",
    "rmtree storage.delete_inputs",
}


async def test_killed_and_troubled_bot_loses_and_doubles_nothing() -> None:
    """Every point once, then random cycles: kills anywhere, in recoveries too, and troubles that must be got over."""
    said: list[str] = []
    broken = await soak(CYCLES, SEED, often=1, tell=said.append, keep_on=False)
    assert broken == [], "\n".join([*broken, *said])


async def test_scenes_pass_all_the_landmarks_before_and_after(tmp_path: Path) -> None:
    async with open_mother() as mother, open_world(tmp_path / "world", mother) as world:
        found = {point for counted in (await take_census(world)).values() for point in counted}
    assert {f"{place} {moment}" for place in LANDMARKS for moment in ("before", "after")} <= found
    assert {"engine Started before", "engine StepFinished after", "engine Finished before"} <= found


async def test_kill_is_a_kill(tmp_path: Path) -> None:
    """Before the commit nothing is there, after it everything, and the process has had no time for a last word."""
    async with open_mother() as mother, open_world(tmp_path / "world", mother) as world:
        await recover(world)
        for moment, rows in (("before", 0), ("after", 1)):
            await world.living.obey(Order(f"commit acceptance.submit {moment}"))
            await DEEDS["imagine"](world, ADA_ID, Random(1))
            await world.calm()
            assert world.living.gone.is_set()
            assert world.living.points[-1] == f"commit acceptance.submit {moment}"
            assert await jobs_in(world) == rows
            await world.begin()
            await world.online()


async def jobs_in(world: World) -> int:
    async with world.database.read() as session:
        return (await session.execute(select(func.count()).select_from(Job))).scalar_one()


# What the harness must find: each breaks the bot in one place, and is killed where that hurts.

PLANTED = {
    "a direct message isn't looked for": (
        "from bot.delivery.search import MessageSearch as S\n"
        "async def nothing(self, job): return None\n"
        "S._direct_result = nothing",
        ("direct message", "commit studio.delivered before"),
        "its result is shown 2 times",
    ),
    "a result isn't looked for": (
        "from bot.delivery.channel import ChannelDelivery as C\n"
        "async def nothing(self, job): return None\n"
        "C.find_result = nothing",
        ("imagine", "commit studio.delivered before"),
        "its result is shown 2 times",
    ),
    "a wish to cancel isn't kept": (
        "from db import jobs\n"
        "from db.models import JobState\n"
        "async def forget(session, job_id, *, now):\n"
        "    return (await jobs.get(session, job_id)).state is JobState.RUNNING\n"
        "jobs.request_cancel = forget",
        ("stop", "POST /interactions/{id}/{id}/callback after", 2),
        "was drawn anew after its member was told that it stops",
    ),
    "files that nobody wants stay": (
        "from bot.service import leftovers\nasync def nothing(*_): return 0\nleftovers.remove = nothing",
        ("inpaint", "rename storage.place after"),
        "belongs to no job",
    ),
    "a failure keeps its reservation": (
        "from bot.service import settlement\n"
        "charge = settlement._charge\n"
        "async def keep(session, job, amount, *, now):\n"
        "    await charge(session, job, amount, now=now) if amount else None\n"
        "settlement._charge = keep",
        ("failure", "commit studio.fail after"),
        "neither post nor void",
    ),
    "nobody adopts a job without a message": (
        "from bot.service.studio import Studio\nasync def nothing(self): return []\nStudio.unposted = nothing",
        ("imagine", "commit acceptance.submit after"),
        "is still queued",
    ),
    "the waiting message stays": (
        "from bot.delivery.channel import ChannelDelivery as C\n"
        "async def nothing(self, job): return None\n"
        "C._remove_waiting = nothing",
        ("imagine", "DELETE /channels/{id}/messages/{id} before"),
        "still says",
    ),
    "an offer can be confirmed twice": (
        "from bot.service import acceptance\n"
        "from db import jobs\n"
        "async def accepted(session, order):\n"
        "    return [job for n in (1, 2) if (job := await jobs.get(session, order.job_id(n)))]\n"
        "acceptance.accepted_before = accepted",
        ("offer", "PATCH /webhooks/{id}/{id}/messages/@original before"),
        "still says",
    ),
    "a refill comes with every order": (
        "import secrets\n"
        "from bot.service import refills\n"
        "from db import allowances\n"
        "async def nothing(*_): return None\n"
        "allowances.get = nothing\n"
        "refills._id = lambda member, plan, span: f'refill:{member}:{secrets.token_hex()}'",
        ("refill", "commit studio.delivered before"),
        "had 2 refills",
    ),
    "a ban leaves what waits": (
        "from bot.service import bans\nasync def nothing(*_, **__): return ()\nbans._cancel_waiting = nothing",
        ("ban", "commit moderation.ban after"),
        "was begun after ban",
    ),
    "who was forgotten is still in the audits": (
        "from db import erasure\nerasure._FOLLOWERS = ()",
        ("leave", "commit privacy.removed before"),
        "names somebody who is gone",
    ),
}


@pytest.mark.parametrize("defect", PLANTED)
async def test_harness_finds_a_planted_defect(defect: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, place, complaint = PLANTED[defect]
    monkeypatch.setattr("tests.faults.world.REST_S", 10.0)
    async with open_mother(plant) as mother, open_world(tmp_path / "world", mother) as world:
        with pytest.raises(Broken, match=complaint) as found:
            await recover(world)
            await kill_at(world, *place)  # type: ignore[arg-type]
    assert place[0] in str(found.value)
