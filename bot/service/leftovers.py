"""Files of jobs that no longer want them: a kill came between the commit that gave them up and their removal.

Also inputs placed inside a transaction that was never committed. Looked for once, at start.
"""

from __future__ import annotations

import asyncio
import logging

from bot.service.storage import Storage
from db import jobs
from db.session import Database

log = logging.getLogger(__name__)

CHUNK = 500
"""Jobs in one query: SQLite takes 32,766 parameters, and nobody should wait for a long one."""


async def remove(database: Database, storage: Storage) -> int:
    """Remove the folders of jobs that are deleted or ended without needing them, and unknown inputs. How many."""
    inputs, results = await asyncio.to_thread(storage.job_folders)
    found = sorted(inputs | results)
    removed = 0
    for start in range(0, len(found), CHUNK):
        chunk = set(found[start : start + CHUNK])
        async with database.read() as session:
            wanting_inputs, wanting_results = await jobs.wanting_files(session, chunk)
        doubtful = ((inputs & chunk) - wanting_inputs) | ((results & chunk) - wanting_results)
        if doubtful:
            removed += await _remove(database, storage, doubtful)
    if removed:
        log.warning("%d folders of jobs that a killed process gave up were removed", removed)
    return removed


async def _remove(database: Database, storage: Storage, doubtful: set[str]) -> int:
    """As a writer: orders place their inputs, and jobs are claimed, in writing transactions only."""
    async with database.write() as session:
        wanting_inputs, wanting_results = await jobs.wanting_files(session, doubtful)
        for job_id in doubtful - wanting_inputs:
            await asyncio.to_thread(storage.delete_inputs, job_id)
        for job_id in doubtful - wanting_results:
            await asyncio.to_thread(storage.delete_results, job_id)
    return len(doubtful - (wanting_inputs & wanting_results))
