"""Models and members: small tables whose rules are easy to break."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.exc import IntegrityError

from db import catalogue, members
from db.models import Member, Model
from db.session import Database

pytestmark = pytest.mark.both_databases

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def model(key: str, **values: object) -> Model:
    defaults: dict[str, object] = {
        "source": f"org/{key}",
        "digest": "00ff",
        "native_size": 64,
        "default_steps": 12,
        "max_steps": 50,
        "default_guidance_scale": 4.0,
        "tasks": '["text-to-image"]',
        "schedulers": '["ddim"]',
        "created_at": NOW,
    }
    return Model(key=key, **(defaults | values))


async def defaults(database: Database) -> list[str]:
    async with database.read() as session:
        chosen = await catalogue.default(session)
        rows = [row.key for row in await catalogue.all(session) if row.is_default]
    assert rows == ([chosen.key] if chosen else [])
    return rows


async def test_new_model_has_usual_rate_and_is_not_default(database: Database) -> None:
    async with database.write() as session:
        await catalogue.upsert(session, model("b"))
        await catalogue.upsert(session, model("a"))
    async with database.read() as session:
        assert [row.key for row in await catalogue.all(session)] == ["a", "b"]
        stored = await catalogue.get(session, "a")
        assert await catalogue.get(session, "c") is None
    assert stored is not None
    assert (stored.rate, stored.source, stored.created_at) == (1.0, "org/a", NOW)
    assert await defaults(database) == []


async def test_model_described_again_keeps_what_the_admin_chose(database: Database) -> None:
    async with database.write() as session:
        await catalogue.upsert(session, model("a", rate=2.5))
        await catalogue.upsert(session, model("b"))
        await catalogue.set_default(session, "a")
    async with database.write() as session:
        await catalogue.upsert(session, model("a", digest="beef", max_steps=80, created_at=NOW + timedelta(days=1)))
    async with database.read() as session:
        stored = await catalogue.get(session, "a")
    assert stored is not None
    assert (stored.digest, stored.max_steps, stored.rate, stored.created_at) == ("beef", 80, 2.5, NOW)
    assert await defaults(database) == ["a"]


async def test_model_described_with_a_rate_gets_it(database: Database) -> None:
    async with database.write() as session:
        await catalogue.upsert(session, model("a"))
        await catalogue.upsert(session, model("a", rate=0.5))
    async with database.read() as session:
        stored = await catalogue.get(session, "a")
    assert stored is not None
    assert stored.rate == 0.5


async def test_default_moves_and_stays_single(database: Database) -> None:
    async with database.write() as session:
        await catalogue.upsert(session, model("a", is_default=True))
        await catalogue.upsert(session, model("b", is_default=True))
    assert await defaults(database) == ["b"]
    async with database.write() as session:
        assert await catalogue.set_default(session, "a")
        assert await catalogue.set_default(session, "a")
    assert await defaults(database) == ["a"]
    async with database.write() as session:
        assert not await catalogue.set_default(session, "unknown")
    assert await defaults(database) == ["a"]


async def test_two_defaults_are_refused_by_the_database(database: Database) -> None:
    with pytest.raises(IntegrityError):
        async with database.write() as session:
            session.add_all([model("a", is_default=True), model("b", is_default=True)])


async def test_member_is_new_once(database: Database) -> None:
    snowflake = 2**63 - 1
    async with database.write() as session:
        assert await members.ensure(session, snowflake, now=NOW)
        assert not await members.ensure(session, snowflake, now=NOW)
    async with database.write() as session:
        assert not await members.ensure(session, snowflake, now=NOW + timedelta(days=1))
        member = await session.get(Member, snowflake)
    assert member is not None
    assert member.created_at == NOW
