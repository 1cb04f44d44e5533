"""The line between the bot's process and the harness: JSON lines over a Unix socket.

To the bot: an `Order`, which takes effect at once and starts the counting of points anew, or QUESTION. From the bot:
the names of the points that it passes and of its troubles, OBEYED, and how it is (`Pulse`). The line's end is the end
of the process: what was said before a kill still arrives.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

QUESTION = "?"
OBEYED = "="


@dataclass(frozen=True, slots=True)
class Pulse:
    """`sequence`: of the last gateway event that the bot has read. `busy`: how many things it works on."""

    sequence: int
    busy: int

    def line(self) -> str:
        return f"{QUESTION} {self.sequence} {self.busy}"

    @staticmethod
    def read(line: str) -> Pulse | None:
        """None for a line that says something else."""
        parts = line.split()
        return Pulse(int(parts[1]), int(parts[2])) if parts[0] == QUESTION else None


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


NO_ORDER = Order()
