"""Rows: members, jobs, pictures, the ledger. Knows no Discord, no generation, no prices."""

from db import plan_tables

__all__ = ["plan_tables"]
