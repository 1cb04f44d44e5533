"""Rows: members, jobs, pictures, the ledger. Knows no Discord, no generation, no prices."""
