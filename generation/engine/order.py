"""Who goes first when not all can: lanes, turns among members, shortest remaining work with ageing.

Work is counted in rows times steps, a row of the model's native size being one. Knows requests; knows no forwards, no
clock and no torch.
"""

from __future__ import annotations

from collections.abc import Iterable

from generation.engine.request import Request
from generation.recipe import Lane

TURN = 400
"""How much more work one member may have got than another before the other goes first: a 50-step grid under guidance.
Smaller turns would interleave equal jobs, and both would end late."""

AGEING = 0.05
"""How much a request gains on shorter ones for each unit of work done since it came: a 50-step grid is overtaken by
work of twenty such grids at most."""


class Order:
    """Keeps what each member got, by lane. `enter` a request, `charge` what it is given, `leave` it, ask for `ranking`.

    A member who comes back starts level with the one who has got least: nobody saves up turns by being away.
    """

    def __init__(self) -> None:
        self._done = 0.0
        self._entered: dict[Request, float] = {}
        self._given: dict[tuple[Lane, str], float] = {}

    def enter(self, request: Request) -> None:
        """A request that wants the device from now on."""
        share = request.lane, request.member
        present = {(other.lane, other.member) for other in self._entered}
        if share not in present:
            level = min((self._given[other] for other in present if other[0] is request.lane), default=0.0)
            self._given[share] = max(level, self._given.get(share, 0.0))
        self._entered[request] = self._done

    def leave(self, request: Request) -> None:
        """A request that is over. Once a lane is empty, everybody starts level again."""
        del self._entered[request]
        if not any(other.lane is request.lane for other in self._entered):
            self._given = {share: given for share, given in self._given.items() if share[0] is not request.lane}

    def charge(self, request: Request, work: float) -> None:
        """The request was given one step of so much work."""
        self._done += work
        self._given[request.lane, request.member] += work

    def ranking(self, requests: Iterable[Request]) -> list[Request]:
        """The requests, the one to serve first in front."""
        wanted = list(requests)
        least: dict[Lane, float] = {}
        for request in wanted:
            given = self._given[request.lane, request.member]
            least[request.lane] = min(given, least.get(request.lane, given))

        def key(request: Request) -> tuple[int, int, float, int]:
            ahead = self._given[request.lane, request.member] - least[request.lane]
            age = self._done - self._entered[request]
            remaining = request.work * request.steps_left()
            return request.lane_rank, int(ahead // TURN), remaining - AGEING * age, request.arrival

        return sorted(wanted, key=key)
