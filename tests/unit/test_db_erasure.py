"""What is left of a member who was forgotten: rows that count, and nothing that names anybody."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from db import departures, erasure, ledger, members, preferences
from db.desk_tables import Removal
from db.models import Base, Image, Job, JobState, Member, Transfer, TransferCode
from db.moderation_tables import Audit, Ban, Moderation, Report, Rule
from db.plan_tables import Offer, StealthThread
from db.session import Database

pytestmark = pytest.mark.both_databases

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
ADA, BEA = 1001, 100100  # one's id is a part of the other's


async def joined(database: Database, member_id: int, credits: int = 100) -> str:
    account_id = ledger.member_account(member_id)
    async with database.write() as session:
        await members.ensure(session, member_id, now=NOW)
        await ledger.ensure_account(session, account_id)
        await ledger.grant(
            session,
            id=f"welcome:{member_id}",
            account_id=account_id,
            amount=credits,
            now=NOW,
            code=TransferCode.WELCOME,
        )
        await preferences.set_lane(session, member_id, "relax")
    return account_id


async def ordered(database: Database, member_id: int, job_id: str, state: JobState, **changes: object) -> None:
    """A job, paid when it succeeded."""
    account_id = ledger.member_account(member_id)
    fields: dict[str, object] = {
        **{"interaction_id": 5, "guild_id": 1, "channel_id": 11, "action": "imagine", "lane": "fast", "price": 4},
        **{"prompt": "my secret", "recipe": '{"prompt": "my secret"}', "reason": "my secret was refused"},
        **{"message_id": 71, "created_at": NOW, "finished_at": NOW, "delivered_at": NOW},
    }
    async with database.write() as session:
        await ledger.reserve(
            session, id=f"{job_id}/reserve", debit_account_id=account_id, amount=4, now=NOW, expires_at=NOW
        )
        if state is JobState.SUCCEEDED:
            await ledger.post(session, id=f"{job_id}/post", pending_id=f"{job_id}/reserve", now=NOW)
            await ledger.refund(session, id=f"{job_id}/refund", corrects_id=f"{job_id}/post", now=NOW, amount=1)
        else:
            await ledger.void(session, id=f"{job_id}/void", pending_id=f"{job_id}/reserve", now=NOW)
        session.add(Job(id=job_id, member_id=member_id, state=state, **(fields | changes)))
        await session.flush()
        if state is JobState.SUCCEEDED:
            session.add(
                Image(
                    job_id=job_id, index=1, path=f"results/{job_id}/1.png", seed=7, width=64, height=64, flagged=False
                )
            )


async def forget(database: Database, member_id: int) -> list[str]:
    async with database.write() as session:
        await erasure.request(session, member_id, now=NOW)
        job_ids = await erasure.anonymise(session, member_id, now=NOW)
        (await ledger.check_books(session)).raise_for_problems()
    return list(job_ids)


async def everything(database: Database) -> str:
    """Every value of every row, as text."""
    lines = []
    async with database.read() as session:
        for table in Base.metadata.sorted_tables:
            lines += [f"{table.name} {tuple(row)}" for row in await session.execute(table.select())]
    return "\n".join(lines)


async def test_nothing_that_names_the_member_is_left(database: Database) -> None:
    await joined(database, 987_654_321_012)
    await ordered(database, 987_654_321_012, "5-1", JobState.SUCCEEDED, result_message_id=81)
    await ordered(database, 987_654_321_012, "5-2", JobState.CANCELLED)
    assert await forget(database, 987_654_321_012) == ["5-1", "5-2"]
    left = await everything(database)
    assert "987654321012" not in left
    assert "secret" not in left
    assert "'relax'" not in left
    async with database.read() as session:
        (await ledger.check_books(session)).raise_for_problems()


async def test_messages_are_removed_from_where_they_were_posted(database: Database) -> None:
    await joined(database, ADA)
    await ordered(database, ADA, "5-1", JobState.SUCCEEDED, result_message_id=81)
    await ordered(database, ADA, "5-2", JobState.SUCCEEDED, result_message_id=82, told_channel_id=44)
    await ordered(database, ADA, "5-3", JobState.FAILED, message_id=73)
    await ordered(database, ADA, "5-4", JobState.FAILED, message_id=74, told_channel_id=44)
    await forget(database, ADA)
    async with database.read() as session:
        noted = await session.scalars(select(Removal).order_by(Removal.message_id))
        assert [(one.message_id, one.channel_id) for one in noted] == [(73, 11), (74, 44), (81, 11), (82, 44)]
        assert list(await session.scalars(select(Job.told_channel_id))) == [None] * 4


async def test_what_plans_and_moderators_know_is_forgotten_but_a_ban_holds(database: Database) -> None:
    await joined(database, ADA)
    await joined(database, BEA)
    await ordered(database, ADA, "5-1", JobState.SUCCEEDED, result_message_id=81)
    about_ada = {"guild_id": 1, "created_at": NOW}
    async with database.write() as session:
        session.add(Moderation(guild_id=1, rules_revision=0, flagged="withhold", channel_id=66))
        await session.flush()
        session.add_all(
            [
                Audit(id="a", actor_id=BEA, action="ban", member_id=ADA, job_id=None, reason="rude", **about_ada),
                Audit(id="b", actor_id=ADA, action="warn", member_id=BEA, job_id=None, reason="", **about_ada),
                Ban(member_id=ADA, until=None, reason="rude", banned_by=BEA, **about_ada),
                Report(job_id="5-1", reporter_id=BEA, channel_id=11, message_id=81, notice_id=90, **about_ada),
                Report(job_id="5-1", reporter_id=ADA, channel_id=11, message_id=81, **about_ada),
                Offer(
                    **{"id": 9, "channel_id": 11, "member_id": ADA, "action": "imagine", "prompt": "my secret"},
                    **{"repeat": 1, "parent_index": 0, "price": 4, **about_ada},
                ),
            ]
        )
    await forget(database, ADA)
    async with database.read() as session:
        audits = {row.id: (row.actor_id, row.member_id) for row in await session.scalars(select(Audit))}
        assert audits["a"][0] == BEA
        assert audits["b"][1] == BEA
        assert audits["a"][1] == audits["b"][0] < 0
        reports = list(await session.scalars(select(Report).order_by(Report.id)))
        assert [report.reporter_id for report in reports] == [BEA, audits["b"][0]]
        assert {(report.message_id, report.notice_id) for report in reports} == {(0, None)}
        noted = await session.scalars(select(Removal).order_by(Removal.message_id))
        assert [(one.message_id, one.channel_id) for one in noted] == [(81, 11), (90, 66)]
        assert await session.get(Ban, (1, ADA)) is not None
    assert "my secret" not in await everything(database)


async def test_who_is_named_without_being_a_member_is_forgotten_too(database: Database) -> None:
    """Refused, asked for a confirmation, or a moderator: nobody who has drawn anything."""
    stranger = 987_654_321_012
    await joined(database, BEA)
    await ordered(database, BEA, "6-1", JobState.SUCCEEDED)
    at = {"guild_id": 1, "created_at": NOW}
    named = [
        Audit(id="a", actor_id=None, action="block", member_id=stranger, job_id=None, reason="block-list: x", **at),
        Audit(id="b", actor_id=stranger, action="ban", member_id=BEA, job_id=None, reason="", **at),
        Offer(
            **{"id": 9, "channel_id": 11, "member_id": stranger, "action": "imagine", "prompt": "my secret"},
            **{"repeat": 1, "parent_index": 0, "price": 4, **at},
        ),
        Report(job_id="6-1", reporter_id=stranger, channel_id=11, message_id=81, **at),
        StealthThread(member_id=stranger, channel_id=11, thread_id=12, created_at=NOW),
        Ban(member_id=BEA, until=None, reason="", banned_by=stranger, **at),
        Rule(key="x", phrase="x", action="block", created_by=stranger, **at),
    ]
    for row in named:
        async with database.write() as session:
            session.add(row)
        assert await forget(database, stranger) == []
        assert str(stranger) not in await everything(database)
    async with database.write() as session:
        assert not await erasure.request(session, stranger, now=NOW), "nothing is left"
        assert await members.ensure(session, stranger, now=NOW), "who never came hasn't left"
        audits = {row.id: (row.actor_id, row.member_id) for row in await session.scalars(select(Audit))}
        assert (audits["a"][0], audits["b"][1]) == (None, BEA)
        assert await session.get(Offer, 9) is None


async def test_amounts_times_and_links_of_all_transfers_stay(database: Database) -> None:
    await joined(database, ADA)
    await ordered(database, ADA, "5-1", JobState.SUCCEEDED)

    async def rows() -> list[tuple[object, ...]]:
        columns = (Transfer.amount, Transfer.kind, Transfer.code, Transfer.created_at, Transfer.pending_id)
        async with database.read() as session:
            found = await session.execute(
                select(*columns, Transfer.corrects_id).where(Transfer.code != "adjustment").order_by(Transfer.id)
            )
            return [tuple(row) for row in found]

    before = sorted(map(str, await rows()))
    await forget(database, ADA)
    assert sorted(map(str, await rows())) == before


async def test_what_the_member_had_goes_back_to_where_it_came_from(database: Database) -> None:
    await joined(database, ADA)
    await ordered(database, ADA, "5-1", JobState.SUCCEEDED)  # 4 paid, 1 refunded
    await forget(database, ADA)
    async with database.read() as session:
        pseudonym = (await session.scalars(select(Job.member_id))).one()
        assert pseudonym < 0
        assert (await ledger.balance(session, ledger.member_account(pseudonym))).posted == 0
        assert (await ledger.balance(session, ledger.REVENUE)).posted == 3
        assert (await ledger.balance(session, ledger.GRANTS)).posted == -3
        assert (await ledger.balance(session, ledger.member_account(ADA))).posted == 0


async def test_riches_beyond_one_transfer_are_given_back_too(database: Database) -> None:
    account_id = await joined(database, ADA, ledger.MAX_AMOUNT)
    async with database.write() as session:
        await ledger.grant(session, id="more", account_id=account_id, amount=7, now=NOW)
    await forget(database, ADA)
    async with database.read() as session:
        assert (await ledger.balance(session, ledger.GRANTS)).posted == 0


async def test_others_stay_as_they_are(database: Database) -> None:
    await joined(database, ADA)
    await joined(database, BEA)
    await ordered(database, BEA, "6-1", JobState.SUCCEEDED, result_message_id=82)
    async with database.read() as session:
        before = [tuple(row) for row in await session.execute(select(Transfer.id).where(Transfer.id.contains("1001")))]
    assert len(before) == 2
    await forget(database, ADA)
    async with database.read() as session:
        assert (await ledger.balance(session, ledger.member_account(BEA))).available == 97
        assert await session.get(Transfer, f"welcome:{BEA}") is not None
        assert (await preferences.of(session, BEA)).lane == "relax"
        job = await session.get_one(Job, "6-1")
        assert (job.member_id, job.prompt, job.result_message_id) == (BEA, "my secret", 82)
        assert (await session.scalars(select(Member.id).where(Member.id > 0))).all() == [BEA]


async def test_messages_of_results_and_of_other_ends_are_noted_to_be_removed(database: Database) -> None:
    await joined(database, ADA)
    await ordered(database, ADA, "5-1", JobState.SUCCEEDED, message_id=71, result_message_id=81)
    await ordered(database, ADA, "5-2", JobState.FAILED, message_id=72)
    await ordered(database, ADA, "5-3", JobState.SUCCEEDED, message_id=73, delivered_at=None, undeliverable_at=NOW)
    await ordered(database, ADA, "5-4", JobState.CANCELLED, message_id=None)
    await forget(database, ADA)
    async with database.read() as session:
        noted = await session.scalars(select(Removal).order_by(Removal.message_id))
        assert [(one.message_id, one.guild_id, one.channel_id) for one in noted] == [
            (72, 1, 11),
            (73, 1, 11),
            (81, 1, 11),
        ]
        messages = await session.execute(select(Job.message_id, Job.result_message_id, Job.deleted_at))
        assert {tuple(row) for row in messages} == {(None, None, NOW)}
        assert (await session.scalars(select(Image.deleted_at))).all() == [NOW, NOW]


async def test_who_comes_back_is_known_again_but_not_new(database: Database) -> None:
    await joined(database, ADA)
    await forget(database, ADA)
    async with database.write() as session:
        assert await members.ensure(session, ADA, now=NOW) is False
        assert await members.ensure(session, BEA, now=NOW) is True
        assert await departures.has_left(session, ADA)
        assert not await departures.has_left(session, BEA)


async def test_leaving_twice_is_leaving(database: Database) -> None:
    await joined(database, ADA)
    await forget(database, ADA)
    async with database.write() as session:
        await members.ensure(session, ADA, now=NOW)
    await forget(database, ADA)
    async with database.read() as session:
        assert (await session.scalars(select(Member.id).where(Member.id > 0))).all() == []


async def test_hash_of_one_database_means_nothing_in_another(database: Database) -> None:
    """Without the key nobody can ask whether somebody was here."""
    await joined(database, ADA)
    await forget(database, ADA)
    async with database.write() as session:
        await session.execute(text("UPDATE desk_settings SET departure_key = :key"), {"key": "00" * 32})
    async with database.read() as session:
        assert not await departures.has_left(session, ADA)


async def test_job_that_is_still_told_of_is_unfinished(database: Database) -> None:
    await joined(database, ADA)
    later = NOW + timedelta(hours=1)
    await ordered(database, ADA, "5-1", JobState.SUCCEEDED, delivered_at=None)
    await ordered(database, ADA, "5-2", JobState.CANCELLED)
    await ordered(database, ADA, "5-3", JobState.CANCELLED, delivered_at=None, message_id=None)
    async with database.read() as session:
        just_now = await erasure.unfinished(session, ADA, posted_after=NOW - timedelta(minutes=1))
        assert [job.id for job in just_now] == ["5-1", "5-3"]
        assert [job.id for job in await erasure.unfinished(session, ADA, posted_after=later)] == ["5-1"]


# What the database itself refuses and allows, whatever our code does


@pytest.mark.parametrize(
    "change",
    [
        "amount = amount + 1, credit_account_id = 'member:-5'",
        "created_at = '2020-01-01 00:00:00', credit_account_id = 'member:-5'",
        "code = 'grant', credit_account_id = 'member:-5'",
        "credit_account_id = 'member:1002'",
        "credit_account_id = 'revenue'",
        "debit_account_id = 'member:-5'",
        "id = 'other'",
        "amount = amount",
    ],
)
async def test_no_other_change_of_a_transfer_is_allowed(database: Database, change: str) -> None:
    await joined(database, ADA)
    await joined(database, 1002)
    with pytest.raises(DBAPIError, match="never changed"):
        async with database.write() as session:
            await session.execute(text("INSERT INTO accounts VALUES ('member:-5', 0, 0, 0, 0)"))
            await session.execute(text(f"UPDATE transfers SET {change} WHERE id = 'welcome:1001'"))


async def test_pseudonym_is_never_given_back(database: Database) -> None:
    await joined(database, ADA)
    await forget(database, ADA)
    with pytest.raises(DBAPIError, match="never changed"):
        async with database.write() as session:
            await ledger.ensure_account(session, "member:1001")
            await session.execute(text("UPDATE transfers SET credit_account_id = 'member:1001' WHERE code = 'welcome'"))


def test_every_table_is_considered() -> None:
    """A new table: say in db/erasure.py what becomes of its rows when their member is forgotten, and in /privacy export
    what they say of the member. Columns that refer to members.id follow by themselves.
    """
    assert set(Base.metadata.tables) - erasure.CONSIDERED == set()
