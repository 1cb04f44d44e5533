"""What the desk offers to admins and members, put together: queue, statistics, privacy, retention, housekeeping."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from bot.service.courier import Sleep
from bot.service.housekeeper import Housekeeper, Jobs, Removing
from bot.service.privacy import Privacy
from bot.service.queue_desk import QueueDesk
from bot.service.retention import Retention
from bot.service.statistics import Statistics
from bot.service.storage import Storage
from bot.service.studio import Studio
from db.session import Database


class Desk:
    """One per process."""

    def __init__(
        self,
        database: Database,
        studio: Studio,
        storage: Storage,
        jobs: Jobs,
        removing: Removing,
        *,
        clock: Callable[[], datetime],
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.queue = QueueDesk(database, studio, storage, clock=clock)
        self.drawing = asyncio.Lock()  # one picture at a time: matplotlib is heavy, and not made for more
        self.statistics = Statistics(database, clock=clock)
        self.retention = Retention(database, storage, clock=clock)
        self.privacy = Privacy(database, studio, storage, clock=clock)
        self.housekeeper = Housekeeper(self.privacy, self.retention, jobs, removing, sleep=sleep)
