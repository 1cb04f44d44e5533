"""What the README and docs/ say is so: flags, commands, settings, make targets, paths, links and words."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import discord
import pytest
from discord import app_commands

from bot.commands import register
from bot.config import PREFIX, Settings
from bot.prompt.flags import TABLE
from bot.prompt.parser import parse
from db.models import Base

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
COMMANDS = ROOT / "docs/commands.md"
PAGES = sorted([README, *(ROOT / "docs").rglob("*.md")])
SETTINGS = {PREFIX + name.upper() for name in Settings.model_fields}

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def section(page: Path, heading: str) -> str:
    """The text under a heading of the second level, up to the next one."""
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert found, f"{page.name} has no section '{heading}'"
    return found[1]


def table(text: str) -> list[list[str]]:
    """The cells of each row of the tables in a text, without heads."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    rules = [i for i, row in enumerate(rows) if set("".join(row)) <= set("-:")]
    assert rules, "there is no table"
    return [row for i, row in enumerate(rows) if i not in rules and i + 1 not in rules]


def code(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", text)


def test_flags_are_documented_as_they_are() -> None:
    expected = [
        [
            ", ".join(f"`--{name}`" for name in (spec.name, *spec.aliases)),
            spec.values,
            spec.default,
            spec.meaning,
            spec.help,
            f"`{spec.example}`",
        ]
        for spec in TABLE
    ]
    assert table(section(COMMANDS, "Flags")) == expected


def test_example_prompts_of_the_documentation_parse() -> None:
    prompts = [text for page in PAGES for text in re.findall(r"`/imagine prompt: ([^`]+)`", page.read_text("utf-8"))]
    prompts += [text for text in code(section(COMMANDS, "Prompts")) if text.startswith("a ") and "{" not in text]
    assert len(prompts) >= 3
    assert all(parse(prompt).text for prompt in prompts)


@pytest.fixture
def tree() -> app_commands.CommandTree[discord.Client]:
    """The commands as the bot sends them to Discord."""
    tree = app_commands.CommandTree(discord.Client(intents=discord.Intents.none()))
    register(tree)  # type: ignore[arg-type] - registering needs no Limner
    return tree


def usage(command: app_commands.Command[object, ..., object]) -> str:
    options = [option.display_name if option.required else f"[{option.display_name}]" for option in command.parameters]
    return " ".join([f"/{command.qualified_name}", *options])


def test_commands_are_documented_as_they_are(tree: app_commands.CommandTree[discord.Client]) -> None:
    slash = {usage(command) for command in tree.walk_commands() if isinstance(command, app_commands.Command)}
    menus = {menu.name for menu in tree.walk_commands(type=discord.AppCommandType.message)}
    headings = re.findall(r"^### (?:Message menu: )?`([^`]+)`$", section(COMMANDS, "Commands"), re.MULTILINE)
    assert sorted(headings) == sorted(slash | menus)


# How the ids of transfers end; no commands.
TRANSFER_ENDINGS = {"/reserve", "/post", "/void"}


@pages
def test_commands_that_a_page_names_exist(page: Path, tree: app_commands.CommandTree[discord.Client]) -> None:
    known = {f"/{command.qualified_name}" for command in tree.walk_commands()}
    named = [text for text in code(page.read_text("utf-8")) if re.fullmatch(r"/[a-z]+( [a-z]+)*(:.*)?", text)]
    for text in set(named) - TRANSFER_ENDINGS:
        words = text.split(":")[0].split()
        assert any(" ".join(words[:count]) in known for count in range(1, len(words) + 1)), f"{page.name}: {text}"


def test_settings_are_listed_in_env_example() -> None:
    listed = re.findall(r"^#?(LIMNER_[A-Z_]+)=", (ROOT / ".env.example").read_text("utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(SETTINGS)


def test_settings_are_documented_and_no_others() -> None:
    named = {name for page in PAGES for name in re.findall(r"LIMNER_[A-Z_]*[A-Z]", page.read_text("utf-8"))}
    assert named == SETTINGS


def test_make_targets_are_documented_and_no_others() -> None:
    targets = set(re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert targets
    named = {
        name
        for page in PAGES
        for name in re.findall(r"(?:`|^    )make ([a-z]+)", page.read_text("utf-8"), re.MULTILINE)
    }
    assert named == targets


def test_file_map_is_the_tree() -> None:
    mapped = [path for row in table(section(README, "File map")) for path in code(row[0])]
    assert len(mapped) == len(set(mapped))
    assert [path for path in mapped if not (ROOT / path).exists()] == []
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: what belongs to the project isn't known")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    folders = {line.split("/")[0] + "/" for line in listed.splitlines() if "/" in line and not line.startswith(".")}
    assert folders - set(mapped) == set()


@pages
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8"))
    local = [link.split("#")[0] for link in links if not re.match(r"https?://|#", link)]
    assert [link for link in local if not (page.parent / link).exists()] == []


PLACE = re.compile(r"(bot|db|generation|migrations|sandbox|tests|docs|benchmarks)/[\w./-]*")


@pages
def test_paths_that_a_page_names_exist(page: Path) -> None:
    paths = [text for text in code(page.read_text("utf-8")) if PLACE.fullmatch(text)]
    assert [path for path in paths if not (ROOT / path).exists()] == []


GLOSSARY = ROOT / "docs/glossary.md"
# The words that were settled before the first line of code, because each could have meant something else.
SETTLED = {
    *("scheduler", "job", "recipe", "request", "task", "event", "message", "transfer", "account", "pending", "post"),
    *("void", "transaction", "session", "flag", "option", "preference", "settings"),
}


def glossary() -> list[str]:
    return [word for row in table(GLOSSARY.read_text("utf-8")) for word in row[0].split(", ")]


def test_no_word_has_two_meanings() -> None:
    words = glossary()
    assert sorted(words) == sorted(set(words))


def test_settled_words_are_defined() -> None:
    assert SETTLED - set(glossary()) == set()


def test_every_table_is_a_defined_word() -> None:
    singular = {name.removesuffix("s") for name in Base.metadata.tables}
    assert singular
    assert singular - set(glossary()) == set()


def test_no_word_is_defined_that_nobody_uses() -> None:
    packages = ("bot", "generation", "db", "migrations", "sandbox")
    source = "\n".join(
        path.read_text("utf-8") for package in packages for path in (ROOT / package).rglob("*.py")
    ).lower()
    unused = [word for word in glossary() if not re.search(rf"(?<![a-z]){re.escape(word.lower())}", source)]
    assert unused == []
