"""The REST pipeline: authorisation, faults, rate limits, body, description, handler, headers, log.

Handlers are plain functions from a `Call` to an `Answer`; everything that all of them share happens here once.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from sandbox.cdn import Upload
from sandbox.errors import ApiError, Json, Problem, invalid_form, not_found, not_in_sandbox, unauthorized
from sandbox.faults import Faults
from sandbox.rate_limits import OTHER, Allowance, Bucket, RateLimits
from sandbox.spec import Spec
from sandbox.state import State
from sandbox.uploads import Body, indexed_files, read_body

PREFIX = "/api/v10"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request, parsed: `params` from the path, `payload` the JSON (or `payload_json`), `files` by their index."""

    method: str
    path: str
    params: Mapping[str, str]
    query: Mapping[str, str]
    payload: Any = None
    files: Mapping[int, Upload] = field(default_factory=dict)

    def form(self) -> Json:
        """The payload of a route that needs a JSON object."""
        if not isinstance(self.payload, dict):
            problem = Problem("shape", (), "Only dictionaries may be used in a DictType", "DICT_TYPE_CONVERT")
            raise invalid_form([problem])
        return self.payload


@dataclass(frozen=True, slots=True)
class Answer:
    """What a handler answers; without a body it is 204."""

    body: Any = None
    status: int = 200


Handler = Callable[[Call], Answer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One operation. `major`: path parameters that give a bucket of its own. Token routes need no bot token."""

    method: str
    path: str
    handler: Handler
    bucket: Bucket | None = OTHER
    major: tuple[str, ...] = ()
    token_route: bool = False


class Rest:
    """Serves routes under /api/v10."""

    def __init__(self, state: State, limits: RateLimits, faults: Faults, *, spec: Spec | None, token: str) -> None:
        self._state = state
        self._limits = limits
        self._faults = faults
        self._spec = spec
        self._token = token

    def install(self, app: web.Application, routes: list[Route]) -> None:
        """Add routes, and what answers everything else below /api."""
        for route in routes:
            app.router.add_route(route.method, PREFIX + route.path, self._endpoint(route))
        app.router.add_route("*", "/api/{rest:.*}", self._unknown)

    def _endpoint(self, route: Route) -> Callable[[web.Request], Any]:
        async def endpoint(request: web.Request) -> web.Response:
            path = request.path.removeprefix(PREFIX)
            response = await self._serve(route, request, path)
            self._state.record_request(request.method, path, response.status)
            return response

        return endpoint

    async def _serve(self, route: Route, request: web.Request, path: str) -> web.Response:
        fault = self._faults.take(request.method, path)
        body, headers, payload = Body(), {}, None
        try:
            # The body is read before anything is refused: a client that still sends would lose its connection.
            body = await read_body(request)
            payload = body.payload
            if fault is not None and not fault.after:
                return respond(fault.status, fault.body(), fault.headers())
            if not route.token_route and not self._authorized(request):
                raise unauthorized()
            allowance = self._allowance(route, request)
            if allowance is not None:
                headers = allowance.headers()
                if allowance.refused:
                    return respond(429, allowance.body(), headers)
            answer = self._answer(route, request, path, body)
        except ApiError as error:
            self._record(request.method, path, error, payload)
            return respond(error.status, error.body(), headers)
        if fault is not None:
            return respond(fault.status, fault.body(), fault.headers())
        return respond(204 if answer.body is None else answer.status, answer.body, headers)

    def _answer(self, route: Route, request: web.Request, path: str, body: Body) -> Answer:
        if self._spec is not None and (problems := self._spec.request_problems(request.method, path, body.payload)):
            raise invalid_form(problems)
        call = Call(
            method=request.method,
            path=path,
            params=dict(request.match_info),
            query=request.query,
            payload=body.payload,
            files=indexed_files(body),
        )
        return route.handler(call)

    def _allowance(self, route: Route, request: web.Request) -> Allowance | None:
        if route.bucket is None:
            return None
        major = "/".join(request.match_info[name] for name in route.major)
        return self._limits.take(route.bucket, major, counts_globally=not route.token_route)

    def _authorized(self, request: web.Request) -> bool:
        given = request.headers.get("Authorization", "")
        return hmac.compare_digest(given.encode(), f"Bot {self._token}".encode())

    def _record(self, method: str, path: str, error: ApiError, payload: Any) -> None:
        for problem in error.problems:
            where = ".".join(str(step) for step in problem.path)
            detail = f"{where}: {problem.message}" if where else problem.message
            self._state.record_violation(method, path, problem.rule, detail, payload)

    async def _unknown(self, request: web.Request) -> web.Response:
        """No such route here: the bot's mistake, unless Discord has it and only the sandbox doesn't."""
        path = request.path.removeprefix(PREFIX)
        known = self._spec is not None and self._spec.operation(request.method, path) is not None
        error = (
            not_in_sandbox(f"{request.method} {path}")
            if known
            else not_found(f"Discord has no {request.method} {path}")
        )
        self._record(request.method, path, error, None)
        self._state.record_request(request.method, path, error.status)
        return respond(error.status, error.body(), {})


def respond(status: int, body: Any, headers: Mapping[str, str]) -> web.Response:
    """A JSON answer. No charset in the type: discord.py compares the header as a whole."""
    if status == 204:
        return web.Response(status=204, headers=headers)
    return web.Response(
        status=status, body=json.dumps(body).encode(), headers={**headers, "Content-Type": "application/json"}
    )
