"""`python -m sandbox`: start the local Discord and print one JSON line that says where it is."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from sandbox.server import Sandbox
from sandbox.world import GUILD_ID


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT. Returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        asyncio.run(_serve(options))
    except (OSError, ValueError) as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="A local Discord for trying the bot.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=8970, help="port; 0 takes any free one")
    parser.add_argument("--spec", type=Path, help="Discord's OpenAPI description (JSON) to check requests against")
    parser.add_argument("--token", default="sandbox", help="the bot token that may log in")
    parser.add_argument("--privileged", action="store_true", help="switch the privileged intents on")
    return parser


async def _serve(options: argparse.Namespace) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    sandbox = Sandbox(
        host=options.host, port=options.port, spec=options.spec, token=options.token, privileged=options.privileged
    )
    async with sandbox:
        where = {
            "url": sandbox.url,
            "api_url": sandbox.api_url,
            "gateway_url": sandbox.gateway_url,
            "token": sandbox.token,
            "guild_id": GUILD_ID,
            "spec": sandbox.has_spec,
        }
        print(json.dumps(where), flush=True)
        await stopped.wait()


if __name__ == "__main__":
    sys.exit(main())
