"""Rows: members, jobs, pictures, the ledger. Knows no Discord, no generation, no prices."""

from db import moderation_tables, plan_tables

__all__ = ["moderation_tables", "plan_tables"]
