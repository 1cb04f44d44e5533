"""The floors of docs/architecture.md, checked on the syntax trees: who may import whom, how long things may grow."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("bot", "generation", "db", "migrations", "sandbox")
CODE = sorted(path for package in (*PACKAGES, "benchmarks", "tests") for path in (ROOT / package).rglob("*.py"))

TORCH = ("torch", "diffusers", "transformers", "accelerate", "safetensors")
# The parts of generation that are data and arithmetic: what the service and the tests may use without loading torch.
TORCH_FREE = (
    "generation.recipe",
    "generation.events",
    "generation.errors",
    "generation.backend",
    "generation.images.grid",
)
# Where the parts are put together: the only places besides the service that see rows and pixels at once.
# The doctor looks at the parts that the others put together.
COMPOSITION_ROOT = ("bot/__main__.py", "bot/cli.py", "bot/client.py", "bot/doctor.py")

MAX_FILE_LINES = 400
# Tables of cases are long without being hard to read.
MAX_TEST_FILE_LINES = 500
MAX_FUNCTION_LINES = 60


def imports(source: str) -> set[str]:
    """Every dotted name that a source imports, wherever in it: `from a import b` counts as `a` and as `a.b`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return found


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def files(*places: str) -> list[Path]:
    """The Python files of folders, or files by name, below the root. A rule about nothing would never fail."""
    found = [path for path in CODE for place in places if (ROOT / place) in (path, *path.parents)]
    assert found, f"no Python file in {places}: the rule checks nothing"
    return found


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def forbidden_imports(paths: list[Path], *packages: str) -> list[str]:
    return [
        f"{name_of(path)} imports {name}"
        for path in paths
        for name in sorted(imports(path.read_text("utf-8")))
        if within(name, *packages)
    ]


def test_imports_are_seen_wherever_they_hide() -> None:
    source = "import a.b\nfrom c import d\nif X:\n    import e\ndef f():\n    from g.h import i as j\nfrom . import k\n"
    assert imports(source) == {"a.b", "c", "c.d", "e", "g.h", "g.h.i", ".", "..k"}
    assert within("torch.nn", "torch")
    assert not within("torchvision", "torch")


@pytest.mark.parametrize(
    ("places", "forbidden"),
    [
        (("generation", "db", "migrations", "sandbox", "bot/service", "bot/prompt"), ("discord",)),
        (("bot/service",), TORCH),
        (("generation",), ("bot", "db", "migrations", "sandbox", "sqlalchemy", "alembic", "aiosqlite")),
        (("db",), ("bot", "generation", "sandbox", *TORCH)),
        (("migrations",), ("bot", "generation", "sandbox", *TORCH)),
        (("sandbox",), ("bot", "generation", "db", "migrations", "sqlalchemy", *TORCH)),
        (("bot",), ("sqlalchemy.create_engine", "sqlalchemy.ext.asyncio.create_async_engine", "aiosqlite")),
        (("tests/unit",), TORCH),
    ],
    ids=lambda value: "+".join(value),
)
def test_floor_imports_nothing_above_it(places: tuple[str, ...], forbidden: tuple[str, ...]) -> None:
    assert forbidden_imports(files(*places), *forbidden) == []


def test_imports_are_absolute() -> None:
    assert forbidden_imports(files(*PACKAGES), "", ".") == []


def test_service_knows_only_the_prompt_language_of_the_bot() -> None:
    names = forbidden_imports(files("bot/service"), "bot")
    assert [name for name in names if not within(name.split()[-1], "bot.service", "bot.prompt")] == []


def test_service_uses_only_torch_free_names_of_generation() -> None:
    names = forbidden_imports(files("bot/service"), "generation")
    assert [name for name in names if not within(name.split()[-1], *TORCH_FREE)] == []


def test_rows_and_pixels_meet_only_in_the_service() -> None:
    both = []
    for path in files("bot"):
        names = imports(path.read_text("utf-8"))
        if all(any(within(name, package) for name in names) for package in ("db", "generation")):
            both.append(name_of(path))
    assert [name for name in both if not name.startswith("bot/service/") and name not in COMPOSITION_ROOT] == []


def test_service_and_data_of_generation_load_neither_torch_nor_discord() -> None:
    """Imports of imports count too: a fresh interpreter tells."""
    service = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files("bot/service", "bot/prompt")]
    wanted = [*TORCH_FREE, *(name.removesuffix(".__init__") for name in service)]
    script = f"import sys; {'; '.join(f'import {name}' for name in wanted)}; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    loaded = done.stdout.split()
    assert "bot.service.actions" in loaded
    assert [name for name in loaded if name in (*TORCH, "discord")] == []


# Modules of the standard library that compute and touch nothing outside.
PURE = (
    *("__future__", "collections", "dataclasses", "decimal", "difflib", "enum", "fractions", "functools", "itertools"),
    *("math", "re", "string", "typing", "unicodedata"),
)


@pytest.mark.parametrize(
    ("place", "own"),
    [
        ("bot/prompt", ("bot.prompt",)),
        ("bot/components/custom_id.py", ()),
        ("bot/delivery/render.py", ("bot.service.actions",)),
    ],
)
def test_text_is_pure(place: str, own: tuple[str, ...]) -> None:
    for path in files(place):
        source = path.read_text("utf-8")
        assert [name for name in sorted(imports(source)) if not within(name, *PURE, *own)] == [], name_of(path)
        called = {node.func.id for node in ast.walk(ast.parse(source)) if _calls_a_name(node)}
        assert called.isdisjoint({"open", "print", "input", "exec", "eval", "__import__"}), name_of(path)


LEDGER_WRITES = {"ensure_account", "reserve", "post", "void", "grant", "refund", "take_back", "rename_member"}
LEDGER = ("db/ledger.py", "db/ledger_accounts.py")
LEDGER_ROWS = ("Account", "Transfer")
LEDGER_SQL = re.compile(r"\b(INSERT INTO|UPDATE|DELETE FROM)\s+(accounts|transfers)\b", re.IGNORECASE)


def ledger_writes(source: str) -> set[str]:
    """The writing functions of db.ledger that a source imports, or calls on the imported module."""
    names = {name.removeprefix("db.ledger.") for name in imports(source) if name.startswith("db.ledger.")}
    if "db.ledger" in imports(source):
        names |= {
            node.attr
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("ledger", "db.ledger")
        }
    return names & LEDGER_WRITES


def test_ledger_writes_are_seen_however_they_are_imported() -> None:
    assert ledger_writes("from db.ledger import post, balance") == {"post"}
    assert ledger_writes("from db import ledger\nledger.void(s)\nledger.balance(s)") == {"void"}
    assert ledger_writes("import db.ledger\ndb.ledger.grant(s)") == {"grant"}


def test_ledger_has_the_writes_that_are_guarded() -> None:
    nodes = [node for path in files(*LEDGER) for node in ast.parse(path.read_text("utf-8")).body]
    assert {node.name for node in nodes if isinstance(node, ast.AsyncFunctionDef)} >= LEDGER_WRITES


def test_only_the_service_writes_the_ledger() -> None:
    outside = [path for path in files(*PACKAGES) if not name_of(path).startswith(("db/", "bot/service/"))]
    assert [name_of(path) for path in outside if ledger_writes(path.read_text("utf-8"))] == []


def ledger_rows_written(source: str) -> list[str]:
    """Where a source makes, changes or removes rows of accounts and transfers, by their classes or by their tables."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            called = _last_name(node.func)
            made = called in LEDGER_ROWS
            changed = called in ("insert", "update", "delete") and any(
                _last_name(one) in LEDGER_ROWS for one in node.args
            )
            if made or changed:
                found.append(ast.unparse(node))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and LEDGER_SQL.search(node.value):
            found.append(node.value)
    return found


def _last_name(node: ast.expr) -> str:
    return ast.unparse(node).rpartition(".")[2]


@pytest.mark.parametrize(
    "source",
    [
        "session.add(Transfer(id='x'))",
        "models.Account(id='x')",
        "insert(Account).values(id='x')",
        "sqlalchemy.update(models.Transfer).values(amount=1)",
        "delete(Account).where(True)",
        "text('update accounts SET credits_posted = 1')",
    ],
)
def test_written_rows_of_the_ledger_are_seen(source: str) -> None:
    assert ledger_rows_written(source)
    assert not ledger_rows_written("select(Transfer)\nupdate(Job)\ndelete(Offer)\naliased(Account)")


def test_only_the_ledger_writes_its_rows() -> None:
    """Except for the copy of a whole database, whose own account rows give way to the copied ones."""
    others = [path for path in files("bot", "db") if name_of(path) not in (*LEDGER, "db/moving.py")]
    assert [name_of(path) for path in others if ledger_rows_written(path.read_text("utf-8"))] == []
    assert forbidden_imports(others, "db.ledger_accounts") == [], "db.ledger has it all"


STATEFUL = re.compile(
    r"(Settings|Database|Studio|Storage|Dispatcher|Catalogue|Client|Bot|Limner|Session|Engine|Backend|Hub|Cache|Sandbox"
    r"|create_engine|create_async_engine|sessionmaker|async_sessionmaker|load)$"
)


def module_level_instances(source: str) -> list[str]:
    """Calls of stateful classes that run at import: in the module's body or a class's, not in a function's."""
    found: list[str] = []
    nodes: list[ast.AST] = list(ast.parse(source).body)
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'":
            continue
        if isinstance(node, ast.Call) and STATEFUL.search(ast.unparse(node.func)):
            found.append(ast.unparse(node))
        nodes += ast.iter_child_nodes(node)
    return found


def test_instances_are_seen_where_they_would_run_at_import() -> None:
    assert module_level_instances("client = discord.Client()\nclass A:\n    db = Database('x')\n") != []
    assert module_level_instances("settings: Settings = Settings()") == ["Settings()"]
    assert module_level_instances("def f():\n    return Database('x')\nclass B(Client):\n    pass\n") == []


def test_nothing_stateful_is_made_at_import() -> None:
    found = [
        f"{name_of(path)}: {call}"
        for path in files(*PACKAGES)
        for call in module_level_instances(path.read_text("utf-8"))
    ]
    assert found == []


def test_no_file_has_a_name_that_says_nothing() -> None:
    vague = {"utils", "util", "helpers", "helper", "manager", "managers", "base", "common", "misc"}
    assert [name_of(path) for path in CODE if path.stem in vague] == []


def test_every_module_says_what_it_owns() -> None:
    sources = {name_of(path): path.read_text("utf-8") for path in files(*PACKAGES)}
    assert [name for name, source in sources.items() if source and not ast.get_docstring(ast.parse(source))] == []


def too_long(name: str, source: str) -> Iterator[str]:
    most = MAX_TEST_FILE_LINES if name.startswith("tests/") else MAX_FILE_LINES
    if (lines := source.count("\n")) > most:
        yield f"{name} has {lines} lines"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                yield f"{name}: {node.name} has {length} lines"


def test_length_is_measured() -> None:
    assert list(too_long("db/x.py", "x = 1\n" * 400)) == []
    assert list(too_long("db/x.py", "x = 1\n" * 401)) == ["db/x.py has 401 lines"]
    assert list(too_long("db/x.py", "def f():\n" + "    x = 1\n" * 60)) == ["db/x.py: f has 61 lines"]


def test_files_and_functions_stay_short_enough_to_read() -> None:
    """Except for migrations: a revision is a record, written once and never edited."""
    sources = {name_of(path): path.read_text("utf-8") for path in CODE if "migrations/versions" not in name_of(path)}
    assert [problem for name, source in sources.items() for problem in too_long(name, source)] == []


def _calls_a_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
