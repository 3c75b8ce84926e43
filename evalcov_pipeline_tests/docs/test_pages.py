"""What the pages name is there: links, commands, files, tables, settings, names in the code."""

from __future__ import annotations

import itertools
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from functools import cache
from pathlib import Path

import click
import pytest

from evalcov_pipeline import __version__
from evalcov_pipeline.cli import _COMMANDS, cli
from evalcov_pipeline.settings import Section, Settings
from evalcov_pipeline.storage.schema import definitions
from evalcov_pipeline_tests.docs.pages import PAGES, ROOT, blocks, code, name, prose

LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
SHELL = ("", "sh", "bash")
EVALCOV = re.compile(r"^(?:\.venv/bin/)?evalcov\s")
PLACEHOLDERS = {
    "N": "5", "X": "0.1", "DATE": "2026-09-01", "FILES": "file.jsonl", "FILE": "file.jsonl",
}  # fmt: skip
every_page = pytest.mark.parametrize("page", PAGES, ids=name)


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    plain = re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in map(slug, HEADING.findall(target.read_text("utf-8"))), link


def test_index_lists_every_page() -> None:
    index = ROOT / "docs/index.md"
    listed = {(index.parent / link).resolve() for link in LINK.findall(prose(index))}

    assert listed >= {page for page in ROOT.glob("docs/*.md") if page != index}


def alternatives(synopsis: str) -> Iterator[list[str]]:
    """Every way to read a command: `[a | b]` and `a|b` are a, then b; what is optional is there."""
    groups = []
    for optional, plain in re.findall(r"\[([^]]*)\]|([^\[]+)", synopsis):
        if optional:
            groups.append([part.strip() for part in optional.split("|")])
        else:
            groups += [word.split("|") for word in shlex.split(plain, comments=True)]
            if re.search(r"[\"'#]", plain):
                groups[-1] = [" ".join(groups[-1])]
    for words in itertools.product(*groups):
        yield [PLACEHOLDERS.get(word, word) for part in words for word in part.split(" ")]


def shown_commands(page: Path) -> Iterator[tuple[str, bool]]:
    """The evalcov commands that a page shows, and whether each is whole: mentions may be short."""
    for block in blocks(page, *SHELL):
        for line in block.replace("\\\n", " ").splitlines():
            yield re.split(r"\|\||&&|;|  #", line.strip())[0], True
    for words in code(page):
        yield words, False


@every_page
def test_commands_are_understood(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for shown, whole in shown_commands(page):
        for words in alternatives(shown) if EVALCOV.match(shown) else ():
            for word in words:
                if "." in word and not word.startswith("-"):
                    file = tmp_path / word
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.touch()
            with nullcontext() if whole else suppress(click.MissingParameter):
                parse(words[1:])


def parse(arguments: list[str]) -> None:
    """Parse a command line, its subcommands included, without running it."""
    command: click.Command | None = cli
    context = click.Context(cli)
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        subcommand, *arguments = arguments
        command = command.get_command(context, subcommand)
        assert command is not None, subcommand
    assert command is not None
    if isinstance(command, click.Group):
        assert set(arguments) <= {
            name for kind in command.get_params(context) for name in kind.opts
        }
    else:
        command.make_context(command.name, arguments)


def test_every_command_is_on_the_page_of_commands() -> None:
    page = (ROOT / "docs/commands.md").read_text("utf-8")

    assert not [command for command in _COMMANDS if f"`evalcov {command}" not in page]


@every_page
def test_make_targets_and_scripts_exist(page: Path) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    lines = [line for block in blocks(page, *SHELL) for line in block.splitlines()]
    for words in map(str.split, [*lines, *code(page)]):
        match words:
            case ["make", target, *_] if not {"=", "/"} & {*target}:
                assert target in targets
            case ["python", script, *_] if script.endswith(".py"):
                assert (ROOT / script).exists()
            case ["python", "-m", module, *_] if module.startswith(("evalcov", "benchmarks")):
                path = ROOT / module.replace(".", "/")
                assert path.with_suffix(".py").exists() or (path / "__main__.py").exists()


@every_page
def test_files_of_the_code_exist(page: Path) -> None:
    places = (ROOT, ROOT / "evalcov_pipeline", ROOT / "evalcov_pipeline_tests", ROOT / "benchmarks")
    for words in code(page):
        if re.fullmatch(r"[\w/.-]+\.(py|sql|md|toml|yaml)", words) and "/" in words:
            assert any((place / words).exists() for place in places), words


@cache
def words_of_the_code() -> frozenset[str]:
    """Every word of the code, less that of these tests."""
    files = [
        file
        for folder in ("evalcov_pipeline", "evalcov_pipeline_tests", "benchmarks")
        for file in (ROOT / folder).rglob("*")
        if file.suffix in (".py", ".sql", ".j2", ".js") and file.parent != Path(__file__).parent
    ]
    return frozenset(word for file in files for word in re.findall(r"\w+", file.read_text("utf-8")))


@every_page
def test_names_are_those_of_the_code(page: Path) -> None:
    sections = {
        name: field.annotation
        for name, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    }
    columns = {table: {c.name for c in made.columns} for table, made in definitions().items()}
    members = columns | {section: set(kind.model_fields) for section, kind in sections.items()}
    both = columns.keys() & sections.keys()
    for words in code(page):
        if match := re.fullmatch(r"(\w+)\.(\w+)", words):
            owner, member = match.groups()
            if owner in both:
                assert member in columns[owner] | set(sections[owner].model_fields), words
            elif owner in members and member not in ("jsonl", "md", "py", "sql"):
                assert member in members[owner], words
        elif re.fullmatch(r"[a-z]+(_[a-z0-9]+)+", words):
            assert words in words_of_the_code(), words


def test_version_is_the_newest_of_the_changelog() -> None:
    versions = re.findall(
        r"^## \[?(\d[\w.]*)\]? ", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M
    )

    assert versions[0] == __version__
    printed = subprocess.run(
        [sys.executable, "-m", "evalcov_pipeline", "--version"], capture_output=True, text=True,
        check=True, cwd=ROOT,
    ).stdout  # fmt: skip
    assert printed.strip().endswith(__version__)
