"""Owns the rows of plans and who has which. Knows no credits' transfers and no limits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from db.plan_tables import Plan, PlanMember, PlanRole


async def get(session: AsyncSession, key: str) -> Plan | None:
    """The plan as it is now, or None."""
    return await session.get(Plan, key, populate_existing=True)


async def all(session: AsyncSession) -> Sequence[Plan]:
    """Every plan, the highest rank first."""
    return (await session.scalars(select(Plan).order_by(Plan.rank.desc(), Plan.key))).all()


async def default(session: AsyncSession) -> Plan | None:
    """What members have who were given no other plan."""
    return await session.scalar(select(Plan).where(Plan.is_default))


async def save(session: AsyncSession, plan: Plan) -> None:
    """Insert the plan, or put it in the place of the one with its key. A new default ends the old one."""
    if plan.is_default:
        others = update(Plan).where(Plan.key != plan.key, Plan.is_default).values(is_default=False)
        # The plan may be a row of this session: flushed before the others, it would be a second default.
        with session.no_autoflush:
            await session.execute(others, execution_options={"synchronize_session": "fetch"})
    await session.merge(plan)
    await session.flush()


async def remove(session: AsyncSession, key: str) -> bool:
    """Delete the plan and whatever gave it to someone. False: no such plan."""
    await session.execute(delete(PlanRole).where(PlanRole.plan_key == key))
    await session.execute(delete(PlanMember).where(PlanMember.plan_key == key))
    gone = await session.execute(delete(Plan).where(Plan.key == key).returning(Plan.key))
    return gone.one_or_none() is not None


async def give_member(session: AsyncSession, member_id: int, key: str | None) -> None:
    """The member's own plan from now on; None takes it away. The member must be known (`members.ensure`)."""
    if key is None:
        await session.execute(delete(PlanMember).where(PlanMember.member_id == member_id))
    else:
        await session.merge(PlanMember(member_id=member_id, plan_key=key))
        await session.flush()


async def is_given(session: AsyncSession, member_id: int, key: str) -> bool:
    """Whether an admin gave the member that plan, whatever their roles."""
    given = await session.get(PlanMember, member_id, populate_existing=True)
    return given is not None and given.plan_key == key


async def give_role(session: AsyncSession, guild_id: int, role_id: int, key: str | None) -> None:
    """The plan that the role brings from now on; None takes it away."""
    if key is None:
        mine = PlanRole.guild_id == guild_id, PlanRole.role_id == role_id
        await session.execute(delete(PlanRole).where(*mine))
    else:
        await session.merge(PlanRole(guild_id=guild_id, role_id=role_id, plan_key=key))
        await session.flush()


async def roles(session: AsyncSession, guild_id: int) -> Sequence[PlanRole]:
    """Which of the guild's roles bring a plan."""
    here = select(PlanRole).where(PlanRole.guild_id == guild_id)
    return (await session.scalars(here.order_by(PlanRole.plan_key, PlanRole.role_id))).all()


async def of(session: AsyncSession, member_id: int, guild_id: int, role_ids: Iterable[int]) -> Plan | None:
    """The plan that the member was given, else the highest of the roles', else the default, else None."""
    own = select(Plan).join(PlanMember, PlanMember.plan_key == Plan.key).where(PlanMember.member_id == member_id)
    if (given := await session.scalar(own)) is not None:
        return given
    best = (
        select(Plan)
        .join(PlanRole, PlanRole.plan_key == Plan.key)
        .where(PlanRole.guild_id == guild_id, PlanRole.role_id.in_(sorted(role_ids)))
        .order_by(Plan.rank.desc(), Plan.key)
        .limit(1)
    )
    return await session.scalar(best) or await default(session)
