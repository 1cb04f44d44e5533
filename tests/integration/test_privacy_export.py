"""A copy of a member's data: everything that is stored of them, and nobody else's."""

from __future__ import annotations

import csv
import io
import json
import zipfile

import pytest

from bot.service.actions import JobAction
from bot.service.errors import ConfirmationNeeded
from bot.service.moderation import RuleAction
from bot.service.moderation_errors import Banned, BannedPrompt
from bot.service.privacy import NothingStored, Privacy
from bot.service.reports import ReportState
from generation.recipe import Lane
from tests.integration.workshop import ADA, ADMIN, BEA, Workshop, decided, everything, png

pytestmark = pytest.mark.both_databases

LIMIT = 10 * 1024 * 1024


@pytest.fixture
def privacy(shop: Workshop) -> Privacy:
    return Privacy(shop.database, shop.studio, shop.storage, clock=shop.clock.now)


def opened(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as whole:
        assert whole.testzip() is None
        return {name: whole.read(name) for name in whole.namelist()}


async def test_export_holds_everything_that_is_stored(shop: Workshop, privacy: Privacy) -> None:
    await shop.studio.accounts.prefer_lane(ADA, Lane.TURBO)
    old = await shop.finished(shop.order("an old owl --fast --seed 7"), flagged=[2])
    shop.clock.advance(60)
    own = (await shop.submit(shop.order("a vole --fast", action=JobAction.VARY, image=png())))[0]
    assert await shop.studio.claim() is not None
    await shop.finished(shop.order("somebody else's", BEA))

    await shop.studio.moderation.ban(77, ADA, None, reason="spam", by=BEA, id="ban:1")

    made = await privacy.export(ADA, limit_bytes=LIMIT)

    files = opened(made.archive)
    assert made.left_out == ()
    assert "Nothing is left out" in files["README.txt"].decode()
    pictures = {f"pictures/{old.id}/{number}.png" for number in (1, 3, 4)}
    inputs = {f"inputs/{own.id}/picture.png"}
    texts = {"README.txt", "account.json", "preferences.json", "others.json", "transfers.csv", "jobs/0001.json"}
    assert set(files) == texts | pictures | inputs
    for name in pictures:
        assert files[name] == shop.storage.read(name.replace("pictures", "results"))
    assert json.loads(files["account.json"]) == {
        "discord_user_id": str(ADA),
        "known_since": "2026-01-01T12:00:00+00:00",
        "credits_available": await shop.available(),
        "credits_reserved": await shop.pending(),
    }
    assert json.loads(files["preferences.json"]) == {"lane": "turbo", "stealth": False}
    others = json.loads(files["others.json"])
    assert [(row["guild_id"], row["reason"]) for row in others["bans"]] == [(77, "spam")]
    assert [row["action"] for row in others["audits"]] == ["ban", "flagged"]
    jobs = json.loads(files["jobs/0001.json"])
    assert [job["id"] for job in jobs] == [own.id, old.id], "newest first, nobody else's"
    assert jobs[1]["prompt"] == "an old owl --fast --seed 7"
    assert jobs[1]["recipe"]["seed"] == 7
    assert (jobs[1]["state"], jobs[1]["result_message_id"], jobs[1]["charged"]) == (
        *("succeeded", old.result_message_id),
        old.charged,
    )
    assert [(picture["seed"], picture["withheld"]) for picture in jobs[1]["pictures"]] == [
        (7, False),
        (8, True),
        (9, False),
        (10, False),
    ]
    assert not [job for job in jobs if "token" in json.dumps(job)]
    lines = list(csv.reader(io.StringIO(files["transfers.csv"].decode())))
    assert sorted(line[1] for line in lines[1:]) == sorted(
        [f"welcome:{ADA}", f"{old.id}/reserve", f"{old.id}/post", f"{own.id}/reserve"]
    )


async def test_export_is_never_larger_than_it_may_be_and_says_what_is_missing(shop: Workshop, privacy: Privacy) -> None:
    jobs = []
    for _ in range(3):
        jobs.append(await shop.finished())
        shop.clock.advance(60)
    whole = await privacy.export(ADA, limit_bytes=LIMIT)
    assert len([name for name in opened(whole.archive) if name.startswith("pictures/")]) == 12
    previous = len(opened(whole.archive))
    for limit in range(len(whole.archive) + 1000, 2200, -500):
        made = await privacy.export(ADA, limit_bytes=limit)
        assert len(made.archive) <= limit
        files = opened(made.archive)
        assert len(files) <= previous
        previous = len(files)
        there = len([name for name in files if name.startswith("pictures/")])
        assert (f"{12 - there} pictures: there is no room" in " ".join(made.left_out)) == (there < 12)
        assert all(line in files["README.txt"].decode() for line in made.left_out)
        if there:
            assert f"pictures/{jobs[-1].id}/1.png" in files, "the newest come first"
    assert previous < 5, "the loop went down to almost nothing"
    assert "3 of your 3 jobs" in " ".join(made.left_out)


async def test_export_names_pictures_that_are_gone(shop: Workshop, privacy: Privacy) -> None:
    job = await shop.finished()
    (shop.root / f"results/{job.id}/3.png").unlink()
    made = await privacy.export(ADA, limit_bytes=LIMIT)
    assert made.left_out == ("1 pictures: they were removed from the server",)
    await shop.studio.delete(job.id, ADA)
    made = await privacy.export(ADA, limit_bytes=LIMIT)
    assert (made.left_out, [name for name in opened(made.archive) if name.startswith("pictures")]) == ((), [])


async def test_stranger_gets_no_export_and_nothing_to_delete(shop: Workshop, privacy: Privacy) -> None:
    with pytest.raises(NothingStored):
        await privacy.export(ADA, limit_bytes=LIMIT)
    with pytest.raises(NothingStored):
        await privacy.request(ADA)
    assert await privacy.requested() == []
    assert await shop.counted() == (0, 0, 0)


async def test_who_was_only_refused_or_asked_for_a_price_gets_a_copy(shop: Workshop, privacy: Privacy) -> None:
    """No member row, but rows all the same."""
    me, moderation, office = 987_654_321, shop.studio.moderation, shop.studio.office
    await moderation.rules.add(1, "wolf", RuleAction.BLOCK, None, by=BEA, id="rule:1")
    with pytest.raises(BannedPrompt):
        await shop.imagine("a wolf", me)
    await office.set_confirm_above(1, 0, **decided(BEA))
    with pytest.raises(ConfirmationNeeded):
        await shop.imagine("a dear deer", me)
    files = opened((await privacy.export(me, limit_bytes=LIMIT)).archive)
    assert json.loads(files["account.json"])["known_since"] is None
    others = json.loads(files["others.json"])
    assert [(row["action"], row["reason"]) for row in others["audits"]] == [("block", "block-list: wolf")]
    assert [row["prompt"] for row in others["offers"]] == ["a dear deer"]
    await privacy.request(me)
    assert (await privacy.step(me)).done
    left = await everything(shop)
    assert str(me) not in left
    assert "dear deer" not in left
    with pytest.raises(NothingStored, match="knows nothing"):
        await privacy.request(me)
    of_admin = json.loads(opened((await privacy.export(BEA, limit_bytes=LIMIT)).archive)["others.json"])
    assert [row["phrase"] for row in of_admin["rules"]] == ["wolf"]
    assert sorted(row["action"] for row in of_admin["audits"]) == ["blocklist add", "confirm"]


async def test_ban_stays_and_is_said_to_stay(shop: Workshop, privacy: Privacy) -> None:
    await shop.studio.moderation.ban(1, ADA, None, reason="spam", by=BEA, id="ban:1")
    await privacy.request(ADA)
    assert (await privacy.step(ADA)).done
    with pytest.raises(NothingStored, match="a server has banned you"):
        await privacy.request(ADA)
    others = json.loads(opened((await privacy.export(ADA, limit_bytes=LIMIT)).archive)["others.json"])
    assert ([row["reason"] for row in others["bans"]], others["audits"]) == (["spam"], [])
    with pytest.raises(Banned):
        await shop.imagine()


async def test_copy_tells_nobody_else(shop: Workshop, privacy: Privacy) -> None:
    """Least of all who reported the member, and which moderator decided."""
    job = await shop.finished()
    await shop.studio.moderation.set_channel(1, 66, by=ADMIN, id="moderation:1")
    filed = await shop.studio.reports.file(job, BEA, job.result_message_id or 0)
    await shop.studio.reports.decide(filed.report.id, 1, ReportState.BANNED, by=ADMIN)
    of_member, of_reporter = [
        json.loads(opened((await privacy.export(member, limit_bytes=LIMIT)).archive)["others.json"])
        for member in (ADA, BEA)
    ]
    assert [row["action"] for row in of_member["audits"]] == ["report", "ban", "report banned"]
    assert {row["actor_id"] for row in of_member["audits"]} == {None}
    assert [row["banned_by"] for row in of_member["bans"]] == [None]
    assert [(row["reporter_id"], row["decided_by"]) for row in of_reporter["reports"]] == [(BEA, None)]
    assert [(row["actor_id"], row["member_id"]) for row in of_reporter["audits"]] == [(BEA, None)]
