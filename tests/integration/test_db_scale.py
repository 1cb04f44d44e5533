"""The database's benchmark runs, on little: what it fills in is sound, and everything is measured."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.db_scale import EXPIRY, main


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """The option for a database other than the file."""
    if request.param == "sqlite":
        yield []
        return
    server = request.getfixturevalue("postgres")
    name = server.create()
    yield ["--url", server.url(name)]
    server.drop(name)


def test_database_benchmark_fills_sound_books_and_reports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], url: list[str]
) -> None:
    """It refuses to measure books that don't balance; the second run finds the database of the first."""
    arguments = ["--jobs", "1200", "--members", "30", "--times", "3", "--keep", str(tmp_path), *url]
    main(arguments)
    first = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    main(arguments)
    again = json.loads(capsys.readouterr().out.strip().splitlines()[-1])

    assert (first["benchmark"], first["jobs"], first["members"]) == ("db_scale", 1200, 31)
    assert first["times_ms"].keys() == again["times_ms"].keys()
    measured = {entry["name"].removesuffix(", p95 ms") for entry in first["goals"]}
    assert measured == first["times_ms"].keys() - {EXPIRY}
    assert all(0 < found["p50"] <= found["p95"] <= found["max"] for found in first["times_ms"].values())
