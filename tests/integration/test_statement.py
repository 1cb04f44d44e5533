"""What a member's transfers look like to the member, on a real database."""

from __future__ import annotations

import csv
import io

import pytest

from bot.service import statement
from bot.service.pages import LINES
from tests.integration.workshop import ADA, BEA, Workshop

pytestmark = pytest.mark.both_databases


async def test_every_line_says_what_happened(shop: Workshop) -> None:
    claimed = await shop.claimed()
    paid = await shop.studio.settle(claimed, shop.drawn(claimed))
    await shop.studio.undeliverable(paid)
    cancelled = await shop.imagine()
    await shop.studio.cancel(cancelled.id, member_id=ADA)
    await shop.studio.accounts.grant(ADA, 25, by=BEA, id="grant:1")

    page = await shop.studio.accounts.statement(ADA, 0)

    assert sorted((line.change, line.meaning) for line in page.lines) == [
        (-4, f"paid for job {paid.id}"),
        (0, f"4 released for job {cancelled.id}"),
        (0, f"4 reserved for job {paid.id}"),
        (0, f"4 reserved for job {cancelled.id}"),
        (4, f"refund for job {paid.id}"),
        (25, "granted by an admin"),
        (100, "welcome"),
    ]
    assert sum(line.change for line in page.lines) == page.available == await shop.available()
    assert not page.more


async def test_pages_follow_one_another_without_gap_or_repeat(shop: Workshop) -> None:
    await shop.studio.accounts.view(ADA)  # welcomed first
    for number in range(2 * LINES):
        shop.clock.advance(1)
        await shop.studio.accounts.grant(ADA, number + 1, by=BEA, id=f"grant:{number}")

    pages = [await shop.studio.accounts.statement(ADA, number) for number in range(4)]

    assert [len(page.lines) for page in pages] == [LINES, LINES, 1, 0]
    assert [page.more for page in pages] == [True, True, False, False]
    ids = [line.id for page in pages for line in page.lines]
    assert ids == [f"grant:{number}" for number in reversed(range(2 * LINES))] + [f"welcome:{ADA}"]


async def test_file_has_every_line_of_its_owner_and_nobody_elses(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statement, "CHUNK", 3)
    await shop.imagine(member=BEA)
    for number in range(7):
        await shop.studio.accounts.grant(ADA, 1, by=BEA, id=f"grant:{number}")

    rows = list(csv.DictReader(io.StringIO((await shop.studio.accounts.statement_csv(ADA)).decode())))

    assert {row["transfer"] for row in rows} == {f"welcome:{ADA}", *(f"grant:{number}" for number in range(7))}
    assert sum(int(row["change"]) for row in rows) == await shop.available() == 107
