"""The sandbox as a whole: one aiohttp server with gateway, REST, CDN, human API and page.

`Sandbox` is used in-process by tests and by `python -m sandbox`. Owns assembly, start and stop, and which browsers may
talk to it: no page of another origin, and on a loopback address no other Host (DNS rebinding).
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web

from sandbox.clock import Clock
from sandbox.faults import Faults
from sandbox.gateway import Gateway
from sandbox.human import Human
from sandbox.interactions import Interactions
from sandbox.rate_limits import RateLimits
from sandbox.rest import Rest
from sandbox.rest_application import ApplicationRoutes
from sandbox.rest_messages import MessageRoutes
from sandbox.rest_threads import ThreadRoutes
from sandbox.rest_webhooks import WebhookRoutes
from sandbox.spec import Spec
from sandbox.state import State, Violation
from sandbox.uploads import MAX_REQUEST_BYTES

LOOPBACK = ("127.0.0.1", "localhost", "::1")
PAGE = Path(__file__).parent / "page"
CONTENT_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; style-src 'self'; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
Next = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Sandbox:
    """A local Discord. `async with Sandbox(port=0) as server:` listens on a free port.

    spec: Discord's OpenAPI description as a file; without it only the hand-written rules hold. privileged: whether the
    application has the privileged intents (members, presences, message content) switched on.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        spec: Path | None = None,
        token: str = "sandbox",
        clock: Clock | None = None,
        privileged: bool = False,
        heartbeat_interval: float = 41.25,
    ) -> None:
        self.token = token
        self.clock = clock or Clock()
        self.state = State(self.clock)
        self.faults = Faults()
        self.has_spec = spec is not None
        self._host, self._port = host, port
        self._spec = None if spec is None else Spec(spec)
        self._privileged = privileged
        self._interactions = Interactions(self.state)
        self._gateway = Gateway(
            self.state, self.clock, token=token, privileged=privileged, heartbeat_interval=heartbeat_interval
        )
        self._human = Human(self.state, self._interactions, self._gateway, self.faults, has_spec=self.has_spec)
        self._runner: web.AppRunner | None = None
        self.url = ""

    @property
    def api_url(self) -> str:
        """What discord.py's Route.BASE must be."""
        return f"{self.url}/api/v10"

    @property
    def gateway_url(self) -> str:
        """What discord.py's DiscordWebSocket.DEFAULT_GATEWAY must be."""
        return self.url.replace("http", "ws", 1) + "/gateway"

    @property
    def violations(self) -> list[Violation]:
        """What the bot did that Discord would have refused."""
        return self.state.violations

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.create_server((self._host, self._port), family=family)
        self._port = listener.getsockname()[1]
        # Whoever listens on all addresses is reached on this machine's own.
        name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host, self._host)
        self.url = f"http://{f'[{name}]' if ':' in name else name}:{self._port}"
        self.state.cdn.origin = self.url
        self._gateway.url = self.gateway_url
        self._runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.SockSite(self._runner, listener).start()

    async def stop(self) -> None:
        """Close every connection and stop listening."""
        await self._gateway.close()
        await self._human.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        self.clock.close()

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=MAX_REQUEST_BYTES, middlewares=[self._guard])
        app.router.add_get("/", _index)
        app.router.add_get("/gateway", self._gateway.serve)
        app.router.add_get("/cdn/attachments/{channel_id}/{id}/{filename}", self.state.cdn.serve)
        self._human.install(app)
        if PAGE.is_dir():
            app.router.add_static("/page/", PAGE)
        rest = Rest(self.state, RateLimits(self.clock), self.faults, spec=self._spec, token=self.token)
        application = ApplicationRoutes(self.state, gateway_url=self.gateway_url, privileged=self._privileged)
        messages = MessageRoutes(self.state, reads_content=self._privileged)
        webhooks = WebhookRoutes(self.state, self._interactions)
        threads = ThreadRoutes(self.state, knows_members=self._privileged)
        rest.install(app, [*application.routes(), *messages.routes(), *threads.routes(), *webhooks.routes()])
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Next) -> web.StreamResponse:
        """Keep other origins' pages out; programs send no Origin and aren't concerned."""
        host = request.host.rsplit(":", 1)[0].strip("[]")
        if self._host in LOOPBACK and host not in LOOPBACK:
            return web.json_response({"error": f"this sandbox isn't {host!r}"}, status=403)
        origin = request.headers.get("Origin")
        site = request.headers.get("Sec-Fetch-Site", "none")
        foreign = origin is not None and origin != f"http://{request.host}"
        # The page itself may be linked from anywhere, and the CDN's addresses can't be guessed.
        open_to_all = request.method == "GET" and (request.path == "/" or request.path.startswith(("/page/", "/cdn/")))
        if (foreign or site not in ("none", "same-origin")) and not open_to_all:
            return web.json_response({"error": "only the sandbox's own page may do this"}, status=403)
        response = await handler(request)
        if request.path == "/" or request.path.startswith("/page/"):
            response.headers["Content-Security-Policy"] = CONTENT_POLICY
            # Modules of two versions of the page must not meet.
            response.headers["Cache-Control"] = "no-cache"
        return response


async def _index(request: web.Request) -> web.StreamResponse:
    page = PAGE / "index.html"
    if not page.is_file():
        return web.Response(status=404, text="This installation has no sandbox/page/index.html.")
    return web.FileResponse(page)
