"""The line between the bot's process and the harness: JSON lines over a Unix socket.

To the bot: an `Order`, which takes effect at once and starts the counting of points anew. From the bot: the names of
the points that it passes. The line's end is the end of the process: what was said before a kill still arrives.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Order:
    """Kill at the `nth` passing of the point `kill`; make `trouble` at the `at`-th chance for it, `times` times.

    Empty names do nothing. Both count from 1, from the moment when the order arrives.
    """

    kill: str = ""
    nth: int = 1
    trouble: str = ""
    at: int = 1
    times: int = 1

    def line(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"

    @staticmethod
    def read(line: str | bytes) -> Order:
        return Order(**json.loads(line))
