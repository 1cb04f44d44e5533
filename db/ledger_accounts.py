"""Owns what accounts are called: of whom they are, opening one, renaming one. Moves no credit; db/ledger.py does.

A part of the ledger, like db/books.py: others import it from db/ledger.py.
"""

from __future__ import annotations

import re

from sqlalchemy import ColumnElement, delete, insert, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from db.models import Account, Transfer

MEMBER_ACCOUNT = "member:{id}"
GUILD_ACCOUNT = "guild:{id}"

# Nobody keeps objects of these rows beyond the transaction that renames them.
_QUIETLY = {"synchronize_session": False}


def member_account(user_id: int) -> str:
    """The id of a Discord user's account."""
    return MEMBER_ACCOUNT.format(id=user_id)


def guild_account(guild_id: int) -> str:
    """The id of a Discord guild's pool."""
    return GUILD_ACCOUNT.format(id=guild_id)


async def ensure_account(session: AsyncSession, account_id: str) -> None:
    """Open the account, empty, unless it exists."""
    if await session.get(Account, account_id) is None:
        session.add(Account(id=account_id))
        await session.flush()


async def rename_member(session: AsyncSession, member_id: int, pseudonym: int) -> None:
    """A member's account and all its transfers under another number; no amount changes.

    The new account is there before anything refers to it, and the old one goes when nothing does any more, so that no
    constraint has to be put off.
    """
    old, new = member_account(member_id), member_account(pseudonym)
    counters = (Account.debits_pending, Account.debits_posted, Account.credits_pending, Account.credits_posted)
    copied = select(literal(new), *counters).where(Account.id == old)
    await session.execute(insert(Account).from_select([Account.id, *counters], copied))
    # Ids such as `welcome:<user id>` name the member too.
    either = or_(Transfer.debit_account_id == old, Transfer.credit_account_id == old)
    naming = await session.scalars(select(Transfer.id).where(either, Transfer.id.contains(str(member_id))))
    number = re.compile(rf"(?<![0-9]){member_id}(?![0-9])")
    for transfer_id in naming.all():
        renamed = number.sub(str(pseudonym), transfer_id)
        if renamed != transfer_id:
            await _rename(session, old, new, Transfer.id == transfer_id, id=renamed)
    await _rename(session, old, new)
    await session.execute(delete(Account).where(Account.id == old), execution_options=_QUIETLY)


async def _rename(session: AsyncSession, old: str, new: str, *conditions: ColumnElement[bool], **values: str) -> None:
    for side in (Transfer.debit_account_id, Transfer.credit_account_id):
        renaming = update(Transfer).where(side == old, *conditions).values({side: new, **values})
        await session.execute(renaming, execution_options=_QUIETLY)
