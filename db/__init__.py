"""Rows: members, jobs, pictures, the ledger. Knows no Discord, no generation, no prices."""

from db import desk_tables, moderation_tables, plan_tables

__all__ = ["desk_tables", "moderation_tables", "plan_tables"]
