"""Faults that a test asks for: the next n matching requests are answered with an error.

Before the request is applied, or after it (the answer was lost, the deed was done).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sandbox.errors import Json


@dataclass(slots=True, kw_only=True)
class Fault:
    """Answer `status` to the next `times` requests whose method and path match.

    A 429 without `via` is what Cloudflare answers to a banned address.
    """

    method: str
    route: re.Pattern[str]
    status: int
    times: int
    retry_after: float = 0.0
    after: bool = False
    via: bool = True
    code: int = 0
    message: str = "A fault that was asked for"

    def body(self) -> Json:
        """The JSON answer."""
        if self.status == 429:
            return {"message": "You are being rate limited.", "retry_after": self.retry_after, "global": False}
        return {"message": self.message, "code": self.code}

    def headers(self) -> dict[str, str]:
        """What a 429 needs to be retried rather than raised by discord.py."""
        if self.status != 429 or not self.via:
            return {}
        return {"Via": "1.1 sandbox", "Retry-After": str(max(1, round(self.retry_after))), "X-RateLimit-Scope": "user"}


class Faults:
    """The faults still to come, oldest first."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Queue a fault."""
        self._faults.append(fault)

    def clear(self) -> None:
        """Forget all."""
        self._faults.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """The fault for this request, used up once. `path` starts behind `/api/v10`."""
        for fault in self._faults:
            if fault.method in ("*", method) and (fault.route.search(path) or fault.route.search(f"/api/v10{path}")):
                fault.times -= 1
                if fault.times <= 0:
                    self._faults.remove(fault)
                return fault
        return None
