"""`python -m tests.faults --cycles 2000 --seed 7`: the soak. Its exit status says whether anything broke."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys

from tests.faults.soak import soak


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--cycles", type=int, default=2000)
    parser.add_argument("--seed", default=secrets.token_hex(3), help="what broke says its seed: repeat it with that")
    parser.add_argument(
        "--often", type=int, default=3, help="the sweep kills up to this passing of a point; 0: no sweep"
    )
    parser.add_argument("--keep-on", action="store_true", help="don't stop at the first thing that breaks")
    options = parser.parse_args()
    tell = lambda text: print(text, flush=True)  # noqa: E731
    broken = asyncio.run(soak(options.cycles, options.seed, often=options.often, tell=tell, keep_on=options.keep_on))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
