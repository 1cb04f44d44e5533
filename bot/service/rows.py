"""The rows that the service hands to Discord's side, under one name: bot/ outside the service imports no db."""

from __future__ import annotations

__all__ = [
    "Audit",
    "Image",
    "Job",
    "JobState",
    "Model",
    "Payer",
    "Period",
    "Plan",
    "PlanRole",
    "QueueLimit",
    "Report",
    "Rule",
]
