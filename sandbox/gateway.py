"""The gateway: sessions, heartbeats, resuming, compression, and which events a session's intents let through.

One `Session` outlives its connections: events are numbered and kept, so that RESUME replays what was missed (API page
"Gateway"). Heartbeat timeouts use real time; everything else the sandbox's clock.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
import zlib
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from sandbox.clock import Clock
from sandbox.dispatch import PRESENCES_INTENT, PRIVILEGED_INTENTS, event_for
from sandbox.errors import Json
from sandbox.state import State
from sandbox.world import BOT_ID, GUILD_ID

DISPATCH, HEARTBEAT, IDENTIFY, PRESENCE, VOICE, RESUME, RECONNECT, MEMBERS, INVALID, HELLO, ACK = (
    0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11,
)  # fmt: skip
UNKNOWN_OPCODE, DECODE_ERROR, NOT_AUTHENTICATED, BAD_TOKEN, ALREADY_IDENTIFIED = 4001, 4002, 4003, 4004, 4005
RATE_LIMITED, SESSION_TIMED_OUT, INVALID_INTENTS, DISALLOWED_INTENTS = 4008, 4009, 4013, 4014
SENDS, SENDS_WINDOW_S = 120, 60.0
KEPT_EVENTS = 5000
# How long a session without a connection can be resumed.
SESSION_TTL_S = 300.0
# A client that hangs must not keep the sandbox from stopping.
CLOSE_TIMEOUT_S = 1.0
# About what a network takes.
ACK_DELAY_S = 0.05
ALL_INTENTS = (1 << 26) - 1


class Connection:
    """One WebSocket. Writing happens in one task, in order, so that the zlib stream stays one stream."""

    def __init__(self, socket: web.WebSocketResponse, request: web.Request, *, compress: bool) -> None:
        self.socket = socket
        self.zombie = False
        self.session: Session | None = None
        self._request = request
        self._deflate = zlib.compressobj() if compress else None
        self._outbox: asyncio.Queue[Json] = asyncio.Queue()
        self._sent_at: deque[float] = deque()

    def send(self, payload: Json) -> None:
        """Queue a payload; a zombie swallows it."""
        if not self.zombie:
            self._outbox.put_nowait(payload)

    async def write(self) -> None:
        """Write until cancelled or the connection is gone."""
        try:
            while True:
                data = json.dumps(await self._outbox.get())
                if self._deflate is None:
                    await self.socket.send_str(data)
                else:
                    frame = self._deflate.compress(data.encode()) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
                    await self.socket.send_bytes(frame)
        except ConnectionError:
            # The reader sees the same end and cleans up.
            return

    def too_fast(self, now: float) -> bool:
        """Whether this is more than 120 payloads from the bot in a minute."""
        self._sent_at.append(now)
        while now - self._sent_at[0] > SENDS_WINDOW_S:
            self._sent_at.popleft()
        return len(self._sent_at) > SENDS

    def drop(self) -> None:
        """Lose the connection without a close frame."""
        if self._request.transport is not None:
            self._request.transport.abort()


@dataclass(slots=True, eq=False)
class Session:
    """An identified session: numbered events, and the connection that it has right now."""

    id: str
    intents: int
    shard: list[int] | None = None
    sequence: int = 0
    events: deque[tuple[int, Json]] = field(default_factory=lambda: deque(maxlen=KEPT_EVENTS))
    connection: Connection | None = None
    lost_at: float | None = None

    def dispatch(self, name: str, data: Json) -> None:
        """Number an event, keep it and send it if there is a connection."""
        self.sequence += 1
        payload = {"op": DISPATCH, "s": self.sequence, "t": name, "d": data}
        self.events.append((self.sequence, payload))
        if self.connection is not None:
            self.connection.send(payload)

    def can_replay(self, sequence: int) -> bool:
        """Whether every event after `sequence` is still kept."""
        if not 0 <= sequence <= self.sequence:
            return False
        oldest = self.events[0][0] if self.events else 1
        return sequence >= oldest - 1


class Gateway:
    """Serves /gateway and sends the state's events to the sessions."""

    def __init__(
        self, state: State, clock: Clock, *, token: str, privileged: bool, heartbeat_interval: float = 41.25
    ) -> None:
        self._state = state
        self._clock = clock
        self._token = token
        self._privileged = privileged
        self._interval = heartbeat_interval
        self._sessions: dict[str, Session] = {}
        self._connections: set[Connection] = set()
        self.url = ""
        state.subscribe(self._on_event)

    @property
    def online(self) -> bool:
        """Whether any session is connected."""
        return any(session.connection is not None for session in self._sessions.values())

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """One connection, from HELLO to its end."""
        socket = web.WebSocketResponse(max_msg_size=1 << 16, timeout=CLOSE_TIMEOUT_S)
        await socket.prepare(request)
        connection = Connection(socket, request, compress=request.query.get("compress") == "zlib-stream")
        self._connections.add(connection)
        writer = asyncio.create_task(connection.write())
        connection.send({"op": HELLO, "s": None, "t": None, "d": {"heartbeat_interval": int(self._interval * 1000)}})
        try:
            await self._read(connection)
        finally:
            writer.cancel()
            self._connections.discard(connection)
            self._detach(connection, ended=socket.close_code in (1000, 1001))
        return socket

    async def command(self, what: str) -> bool:
        """Do something to the bot's connections: drop, reconnect, invalid_session, zombie. False for anything else."""
        for connection in list(self._connections):
            if what == "drop":
                connection.drop()
            elif what == "reconnect":
                connection.send({"op": RECONNECT, "s": None, "t": None, "d": None})
            elif what == "invalid_session":
                if connection.session is not None:
                    self._sessions.pop(connection.session.id, None)
                connection.send({"op": INVALID, "s": None, "t": None, "d": False})
            elif what == "zombie":
                connection.zombie = True
            else:
                return False
        return what in ("drop", "reconnect", "invalid_session", "zombie")

    async def close(self) -> None:
        """Close every connection so that the server can stop."""
        for connection in list(self._connections):
            await connection.socket.close(code=1001, message=b"The sandbox is stopping")

    async def _read(self, connection: Connection) -> None:
        while True:
            try:
                message = await connection.socket.receive(timeout=self._interval * 2)
            except TimeoutError:
                await connection.socket.close(code=SESSION_TIMED_OUT, message=b"Session timed out: no heartbeat")
                return
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                return
            code, reason = self._receive(connection, message.data)
            if code:
                await connection.socket.close(code=code, message=reason.encode())
                return

    def _receive(self, connection: Connection, data: str | bytes) -> tuple[int, str]:
        """Handle one payload; returns the close code and reason, or (0, "")."""
        if connection.too_fast(self._clock.now()):
            return RATE_LIMITED, "You are being rate limited."
        try:
            payload = json.loads(data)
            op, body = payload["op"], payload.get("d")
        except (ValueError, TypeError, KeyError):
            return DECODE_ERROR, "Error while decoding payload."
        if op == HEARTBEAT:
            # discord.py notes the time of a heartbeat once it is out: to it, an answer before that is an interval late.
            answer = {"op": ACK, "s": None, "t": None, "d": None}
            asyncio.get_running_loop().call_later(ACK_DELAY_S, connection.send, answer)
            return 0, ""
        if op in (IDENTIFY, RESUME):
            if connection.session is not None:
                return ALREADY_IDENTIFIED, "Already authenticated."
            given = str(body.get("token") if isinstance(body, dict) else "").removeprefix("Bot ")
            if not hmac.compare_digest(given.encode(), self._token.encode()):
                return BAD_TOKEN, "Authentication failed."
            return self._identify(connection, body) if op == IDENTIFY else self._resume(connection, body)
        if op not in (PRESENCE, VOICE, MEMBERS):
            return UNKNOWN_OPCODE, "Unknown opcode."
        if connection.session is None:
            return NOT_AUTHENTICATED, "Not authenticated."
        if op == MEMBERS:
            self._send_members(connection.session, body if isinstance(body, dict) else {})
        return 0, ""

    def _identify(self, connection: Connection, body: Json) -> tuple[int, str]:
        intents = body.get("intents")
        if not isinstance(intents, int) or not 0 <= intents <= ALL_INTENTS:
            return INVALID_INTENTS, "Invalid intent(s)."
        if intents & PRIVILEGED_INTENTS and not self._privileged:
            return DISALLOWED_INTENTS, "Disallowed intent(s)."
        self._forget_lost()
        session = Session(secrets.token_hex(16), intents, shard=body.get("shard"))
        self._sessions[session.id] = session
        self._attach(session, connection)
        ready: Json = {
            "v": 10,
            "user": self._state.world.bot.json() | {"verified": True, "mfa_enabled": False},
            "user_settings": {},
            "private_channels": [],
            "guilds": [{"id": GUILD_ID, "unavailable": True}],
            "session_id": session.id,
            "session_type": "normal",
            "resume_gateway_url": self.url,
            "application": {"id": BOT_ID, "flags": 0},
        }
        session.dispatch("READY", ready | ({"shard": session.shard} if session.shard else {}))
        if session.intents & 1:
            everyone = bool(session.intents & PRESENCES_INTENT)
            session.dispatch("GUILD_CREATE", self._state.world.guild_create(everyone=everyone))
        return 0, ""

    def _resume(self, connection: Connection, body: Json) -> tuple[int, str]:
        self._forget_lost()
        session = self._sessions.get(str(body.get("session_id")))
        sequence = body.get("seq")
        if session is None or not isinstance(sequence, int) or not session.can_replay(sequence):
            connection.send({"op": INVALID, "s": None, "t": None, "d": False})
            return 0, ""
        if session.connection is not None:
            session.connection.drop()
        self._attach(session, connection)
        for number, payload in session.events:
            if number > sequence:
                connection.send(payload)
        session.dispatch("RESUMED", {})
        return 0, ""

    def _forget_lost(self) -> None:
        oldest = self._clock.now() - SESSION_TTL_S
        for session in list(self._sessions.values()):
            if session.lost_at is not None and session.lost_at < oldest:
                del self._sessions[session.id]

    def _attach(self, session: Session, connection: Connection) -> None:
        session.connection, session.lost_at = connection, None
        connection.session = session
        self._state.emit("bot", online=True)

    def _detach(self, connection: Connection, *, ended: bool) -> None:
        """A client that closes with 1000 or 1001 gives its session up; any other end can be resumed."""
        session = connection.session
        if session is None or session.connection is not connection:
            return
        session.connection, session.lost_at = None, self._clock.now()
        if ended:
            self._sessions.pop(session.id, None)
        self._state.emit("bot", online=self.online)

    def _send_members(self, session: Session, body: Json) -> None:
        wanted = {str(user_id) for user_id in _as_list(body.get("user_ids"))}
        query = str(body.get("query") or "").lower()
        users = self._state.world.users.values()
        found = [
            user.id for user in users if (user.id in wanted if wanted else user.username.lower().startswith(query))
        ]
        chunk: Json = {
            "guild_id": GUILD_ID,
            "members": [self._state.world.member(user_id) for user_id in found],
            "chunk_index": 0,
            "chunk_count": 1,
            "not_found": sorted(wanted - set(found)),
        }
        session.dispatch("GUILD_MEMBERS_CHUNK", chunk | ({"nonce": body["nonce"]} if body.get("nonce") else {}))

    def _on_event(self, kind: str, payload: Json) -> None:
        for session in list(self._sessions.values()):
            event = event_for(self._state, kind, payload, session.intents)
            if event is not None:
                session.dispatch(*event)


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
