"""Discord's rate limits: fixed windows per bucket and major parameter, and the global 50 requests a second.

Bucket sizes are what bots observe (Discord publishes only the headers). Knows no route; time is the sandbox's clock.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from sandbox.clock import Clock
from sandbox.errors import Json


@dataclass(frozen=True, slots=True)
class Bucket:
    """At most `limit` requests in `per` seconds for each major parameter."""

    name: str
    limit: int
    per: float

    @property
    def hash(self) -> str:
        """What X-RateLimit-Bucket says: opaque, the same for all routes that share the bucket."""
        return hashlib.md5(self.name.encode(), usedforsecurity=False).hexdigest()


MESSAGE_CREATE = Bucket("message-create", 5, 5.0)
MESSAGE_EDIT = Bucket("message-edit", 5, 5.0)
MESSAGE_DELETE = Bucket("message-delete", 5, 1.0)
REACTION = Bucket("reaction", 1, 0.25)
# Interaction tokens count as webhooks, each with a bucket of its own and outside the global limit.
WEBHOOK = Bucket("webhook", 5, 2.0)
OTHER = Bucket("other", 50, 1.0)
GLOBAL = Bucket("global", 50, 1.0)


@dataclass(slots=True)
class Window:
    """One running window."""

    started: float
    used: int = 0


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a request may expect: seconds until its window ends, and whether it is refused (429)."""

    bucket: Bucket
    remaining: int
    reset: float
    reset_after: float
    refused: bool = False
    is_global: bool = False

    def headers(self) -> dict[str, str]:
        """The X-RateLimit headers. `Via` is what tells discord.py that a 429 is no Cloudflare ban."""
        headers = {"Via": "1.1 sandbox"}
        if not self.is_global:
            headers |= {
                "X-RateLimit-Limit": str(self.bucket.limit),
                "X-RateLimit-Remaining": str(self.remaining),
                "X-RateLimit-Reset": f"{self.reset:.3f}",
                "X-RateLimit-Reset-After": f"{self.reset_after:.3f}",
                "X-RateLimit-Bucket": self.bucket.hash,
            }
        if self.refused:
            headers["Retry-After"] = str(max(1, round(self.reset_after)))
            headers["X-RateLimit-Scope"] = "global" if self.is_global else "user"
            if self.is_global:
                headers["X-RateLimit-Global"] = "true"
        return headers

    def body(self) -> Json:
        """The JSON of a 429."""
        return {
            "message": "You are being rate limited.",
            "retry_after": round(self.reset_after, 3),
            "global": self.is_global,
        }


class RateLimits:
    """Counts requests per (bucket, major parameter)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._windows: dict[tuple[Bucket, str], Window] = {}

    def take(self, bucket: Bucket, major: str, *, counts_globally: bool) -> Allowance:
        """Count one request; a refused one counts for nothing."""
        if counts_globally:
            everything = self._take(GLOBAL, "")
            if everything.refused:
                return Allowance(GLOBAL, 0, everything.reset, everything.reset_after, refused=True, is_global=True)
        return self._take(bucket, major)

    def _take(self, bucket: Bucket, major: str) -> Allowance:
        now = self._clock.now()
        window = self._windows.get((bucket, major))
        if window is None or now >= window.started + bucket.per:
            self._forget_finished(now)
            window = self._windows[bucket, major] = Window(now)
        refused = window.used >= bucket.limit
        if not refused:
            window.used += 1
        reset = window.started + bucket.per
        return Allowance(bucket, bucket.limit - window.used, reset, max(0.001, reset - now), refused=refused)

    def _forget_finished(self, now: float) -> None:
        """Interaction tokens come and go: windows that are over would pile up."""
        over = [key for key, window in self._windows.items() if now >= window.started + key[0].per]
        for key in over:
            del self._windows[key]
