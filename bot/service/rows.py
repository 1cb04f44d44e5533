"""The rows that the service hands to Discord's side, under one name: bot/ outside the service imports no db."""

from __future__ import annotations

from db.models import Image, Job, JobState, Model
from db.moderation_tables import Audit, Report, Rule
from db.plan_tables import Payer, Period, Plan, PlanRole, QueueLimit

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
