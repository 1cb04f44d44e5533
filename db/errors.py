"""What the database floor refuses, and why. The docstring says what a reader can do about it.

DatabaseError
├── DatabaseInUse                     another process works on this database
├── UnsupportedDatabase               the URL names something else than a SQLite file or a PostgreSQL database
├── DatabaseUnreachable               the server can't be reached, or refuses
├── DatabaseTooNew                    the schema comes from a later version
├── BackupRefused                     there is nothing to copy, no place to copy to, or no sound backup
├── MoveRefused                       not from a SQLite file to an empty PostgreSQL database, or a row doesn't fit
├── MigrationBroken                   a migration would leave rows that refer to nothing; it was rolled back
└── LedgerError
    ├── InvalidAmount                 not a whole number from 1 to MAX_AMOUNT
    ├── AccountsMustDiffer            debit and credit are the same account
    ├── TransferExistsWithDifferent   the id was used before, with other content
    ├── AccountNotFound               no such account
    ├── InsufficientBalance           the account has less than the amount
    ├── PendingTransferNotFound       post or void of an unknown id
    ├── TransferNotPending            post or void of a transfer that reserves nothing
    ├── PendingTransferAlreadyPosted  resolved before, by a post
    ├── PendingTransferAlreadyVoided  resolved before, by a void
    ├── AmountExceedsPending          a post for more than was reserved
    ├── CorrectedTransferNotFound     refund of an unknown id
    ├── TransferNotRefundable         refund of something that was never paid
    ├── RefundExceedsTransfer         refunds together would exceed what was paid
    ├── BooksUnreadable               there are none yet, or another version wrote them
    └── BooksDoNotBalance             check_books() found a contradiction
"""

from __future__ import annotations

from collections.abc import Sequence


class DatabaseError(Exception):
    """The database refused. The message says what to do."""


class DatabaseInUse(DatabaseError):
    """Another process has locked the database. Stop that process, or use another database."""

    def __init__(self, place: str, holder: str) -> None:
        self.place = place
        super().__init__(
            f"{place} is locked by {holder or 'another process'}: another Limner is using this database. Stop it "
            "first, or point this one at another database. Do not remove the lock: it is freed when its process ends."
        )


class UnsupportedDatabase(DatabaseError):
    """Use a URL such as sqlite+aiosqlite:///data/limner.db or postgresql+asyncpg://user:password@host/limner."""


class DatabaseUnreachable(DatabaseError):
    """The database server can't be used now. Start it, or correct its URL."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"The {place} can't be used: {reason}. Start it, or correct LIMNER_DATABASE_URL (or --to).")


class DatabaseTooNew(DatabaseError):
    """A later version wrote this database. Install that version again, or restore the backup made before."""


class BackupRefused(DatabaseError):
    """The backup was not made, or not restored; the database is as it was."""


class MoveRefused(DatabaseError):
    """Nothing was moved: the SQLite file is as it was, the PostgreSQL database has no rows."""


class MigrationBroken(DatabaseError):
    """A migration would leave rows that refer to nothing. Nothing was changed; please report it with this message."""


class LedgerError(DatabaseError):
    """A transfer was refused; nothing was written."""


class InvalidAmount(LedgerError):
    """An amount is a whole number from 1 to MAX_AMOUNT."""

    def __init__(self, amount: object, maximum: int) -> None:
        super().__init__(f"amount {amount!r} is not a whole number from 1 to {maximum}")


class AccountsMustDiffer(LedgerError):
    """A transfer moves credits from one account to another one."""

    def __init__(self, account_id: str) -> None:
        super().__init__(f"{account_id} can't be debited and credited by the same transfer")


class TransferExistsWithDifferent(LedgerError):
    """The id is an idempotency key: the same id with the same content is a retry, with other content a mistake."""

    def __init__(self, transfer_id: str, field: str, *, stored: object, given: object) -> None:
        self.transfer_id, self.field = transfer_id, field
        super().__init__(
            f"transfer {transfer_id} exists with a different {field}: {stored}, not {given}. Use a new id."
        )


class AccountNotFound(LedgerError):
    """Call ensure_account() before the account's first transfer."""

    def __init__(self, account_id: str) -> None:
        self.account_id = account_id
        super().__init__(f"there is no account {account_id}")


class InsufficientBalance(LedgerError):
    """The account has less than the transfer needs. Grant more, or ask for less."""

    def __init__(self, account_id: str, *, available: int, needed: int) -> None:
        self.account_id, self.available, self.needed = account_id, available, needed
        super().__init__(f"{account_id} has {available} available, the transfer needs {needed}")


class PendingTransferNotFound(LedgerError):
    """There is nothing reserved under this id."""

    def __init__(self, pending_id: str) -> None:
        self.pending_id = pending_id
        super().__init__(f"there is no pending transfer {pending_id}")


class TransferNotPending(LedgerError):
    """Only a pending transfer can be posted or voided. Correct any other with a refund."""

    def __init__(self, transfer_id: str, kind: str) -> None:
        self.transfer_id = transfer_id
        super().__init__(f"transfer {transfer_id} is {kind}, not pending: it can be neither posted nor voided")


class PendingTransferAlreadyPosted(LedgerError):
    """A pending transfer is resolved once. Give credits back with a refund of the post."""

    def __init__(self, pending_id: str, resolved_by: str) -> None:
        self.pending_id, self.resolved_by = pending_id, resolved_by
        super().__init__(f"pending transfer {pending_id} was posted by {resolved_by}")


class PendingTransferAlreadyVoided(LedgerError):
    """A pending transfer is resolved once. What was voided is the member's again; reserve anew."""

    def __init__(self, pending_id: str, resolved_by: str) -> None:
        self.pending_id, self.resolved_by = pending_id, resolved_by
        super().__init__(f"pending transfer {pending_id} was voided by {resolved_by}")


class AmountExceedsPending(LedgerError):
    """A post takes at most what was reserved."""

    def __init__(self, pending_id: str, *, pending: int, amount: int) -> None:
        super().__init__(f"pending transfer {pending_id} reserves {pending}, less than {amount}")


class CorrectedTransferNotFound(LedgerError):
    """There is no transfer that this one could correct."""

    def __init__(self, transfer_id: str) -> None:
        super().__init__(f"there is no transfer {transfer_id} to correct")


class TransferNotRefundable(LedgerError):
    """Only what was paid to revenue can be refunded: the post of a job, not its reservation."""

    def __init__(self, transfer_id: str, kind: str, code: str) -> None:
        super().__init__(
            f"transfer {transfer_id} ({kind}, {code}) paid nothing to revenue: refund a post, void a reservation"
        )


class RefundExceedsTransfer(LedgerError):
    """The refunds of a transfer never exceed it."""

    def __init__(self, transfer_id: str, *, refundable: int, amount: int | None) -> None:
        self.refundable = refundable
        wanted = "nothing more" if amount is None else f"not {amount}"
        super().__init__(f"{refundable} of transfer {transfer_id} can still be refunded, {wanted}")


class BooksUnreadable(LedgerError):
    """There are no books that this version can check. Start the bot once, or migrate the database."""


class BooksDoNotBalance(LedgerError):
    """The books contradict themselves: stop the bot, keep a copy of the database, restore or correct by transfers."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("the books do not balance:\n" + "\n".join(f"- {problem}" for problem in problems))
