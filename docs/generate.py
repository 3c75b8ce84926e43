"""The pages of docs/ that are made from the code: `make docs` writes them, a test compares them.

settings.md comes from `settings.py`: names, defaults and limits from the models, meanings from the
docstrings behind the fields. tables.md comes from `storage/schema/*.sql`.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from importlib import resources
from itertools import pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin

import orjson
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from evalcov_pipeline import settings
from evalcov_pipeline.settings import Section, Settings
from evalcov_pipeline.storage.schema import Table, tables

HERE = Path(__file__).parent
_CREATED = re.compile(r"^CREATE TABLE (?:IF NOT EXISTS )?(\w+)", re.MULTILINE)
_KEY = re.compile(r'^  (?:PRIMARY KEY \((.+?)\)|"?(\w+)"? [^-]*PRIMARY KEY)', re.MULTILINE)

_SETTINGS_HEAD = """\
<!-- Made by `make docs` from evalcov_pipeline/settings.py: change that file, not this page. -->
# Settings

Every setting has a default that works. Change one in `evalcov.toml` in the working directory (or
in the file that `EVALCOV_CONFIG` names), or by an environment variable, which wins:

```toml
timezone = "Europe/Berlin"

[coverage]
threshold = 0.2
```

```sh
export EVALCOV_TIMEZONE=Europe/Berlin
export EVALCOV_COVERAGE__THRESHOLD=0.2
export EVALCOV_SAMPLING__DAYPARTS='[0, 12]'
```

A variable is `EVALCOV_`, the section, two underscores and the name; lists and tables are written
as JSON. A name that is no setting is refused, and so are settings that contradict each other. An
empty variable counts as none.
"""

_TABLES_HEAD = """\
<!-- Made by `make docs` from evalcov_pipeline/storage/schema: change that, not this page. -->
# Tables

All tables of `warehouse.duckdb` and of `published.duckdb`, its copy for readers. The same
descriptions are in the database: `SELECT * FROM duckdb_columns()`. Queries to begin with are in
[What the numbers mean](numbers.md).

Times are UTC. Shares and rates go from 0 to 1. A number that cannot be computed is NULL, never 0.
`as_of` is the exclusive end of a scored week.
"""


def pages() -> Mapping[str, str]:
    """The text of every generated page by its name in docs/."""
    return {"settings.md": _settings_page(), "tables.md": _tables_page()}


def meanings(section: type[BaseModel]) -> Mapping[str, str]:
    """What the fields of a section mean: the docstrings behind them, those of its bases included.

    Args:
        section: class of `settings.py`.

    Returns:
        Docstring on one line by name, of the fields that have one.
    """
    classes = {
        node.name: node
        for node in ast.parse(inspect.getsource(settings)).body
        if isinstance(node, ast.ClassDef)
    }
    texts: dict[str, str] = {}
    for base in reversed(section.__mro__):
        body = classes[base.__name__].body if base.__name__ in classes else []
        for field, text in pairwise(body):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(
                    value=ast.Constant(value=str(words))
                ):
                    texts[name] = " ".join(words.split())
    return texts


def _settings_page() -> str:
    sections = {
        name: field.annotation
        for name, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    }
    general = [name for name in Settings.model_fields if name not in sections]
    lines = [_SETTINGS_HEAD, "## General", "", *_setting_rows(Settings, general), ""]
    for name, section in sections.items():
        about = inspect.cleandoc(section.__doc__ or "")
        lines += [f"## {name}", "", about, "", *_setting_rows(section, section.model_fields), ""]
    return "\n".join(lines)


def _setting_rows(section: type[BaseModel], names: Iterable[str]) -> Iterator[str]:
    yield _row("setting", "default", "allowed", "meaning")
    yield "|---|---|---|---|"
    texts = meanings(section)
    for name in names:
        field = section.model_fields[name]
        yield _row(f"`{name}`", _default(field.default), _allowed(field), texts.get(name, ""))


def _default(value: Any) -> str:
    """A default as TOML writes it."""
    if value is None:
        return "unset"
    if isinstance(value, date):
        return f"`{value}`"
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, tuple):
        return f"`[{', '.join(orjson.dumps(item).decode() for item in value)}]`"
    return f"`{orjson.dumps(value).decode()}`"


def _allowed(field: FieldInfo) -> str:
    """Type and limits of a setting in words."""
    limits = {
        kind: value
        for limit in field.metadata
        for kind in ("ge", "gt", "le", "lt")
        if (value := getattr(limit, kind, None)) is not None
    }
    words = _type(field.annotation)
    if {"ge", "le"} <= limits.keys():
        return f"{words} from {limits['ge']} to {limits['le']}"
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    bounds = [f"{signs[kind]} {value}" for kind, value in limits.items()]
    return f"{words} {' and '.join(bounds)}".strip()


_TYPES = {
    int: "whole number", float: "number", str: "text", bool: "true or false", Path: "path",
    date: "date", SecretStr: "text", tuple: "list", dict: "table",
}  # fmt: skip


def _type(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(annotation))
    if isinstance(annotation, UnionType) or NoneType in get_args(annotation):
        parts = [part for part in get_args(annotation) if part is not NoneType]
        return f"unset, or {_type(parts[0])}"
    kind = _TYPES[get_origin(annotation) or annotation]
    items = [item for item in get_args(annotation) if item is not Ellipsis]
    if kind in ("list", "table"):
        return f"{kind} of {_TYPES[items[-1]]}s"
    return kind


def _tables_page() -> str:
    schema = resources.files("evalcov_pipeline.storage").joinpath("schema")
    files = {
        file.name.removesuffix(".sql"): file.read_text("utf-8")
        for file in sorted(schema.iterdir(), key=lambda file: file.name)
        if file.name.endswith(".sql")
    }
    groups = {
        name.capitalize(): [tables()[made] for made in _CREATED.findall(sql) if made in tables()]
        for name, sql in files.items()
    }
    groups = {name: members for name, members in groups.items() if members}
    lines = [_TABLES_HEAD]
    for group, members in groups.items():
        links = ", ".join(f"[`{table.name}`](#{table.name})" for table in members)
        lines.append(f"- **{group}**: {links}")
    for group, members in groups.items():
        lines += ["", f"## {group}"]
        for table in members:
            lines += ["", *_table_lines(table)]
    return "\n".join([*lines, ""])


def _table_lines(table: Table) -> Iterator[str]:
    yield from (f"### {table.name}", "", table.description, "")
    if key := _KEY.search(table.body):
        yield from (f"Key: `{key[1] or key[2]}`.", "")
    yield _row("column", "type", "meaning")
    yield "|---|---|---|"
    for column in table.columns:
        yield _row(f"`{column.name}`", column.type, column.description)


def _row(*cells: str) -> str:
    """A row of a Markdown table."""
    escaped = [cell.replace("|", r"\|") for cell in cells]
    return f"| {' | '.join(escaped)} |"


if __name__ == "__main__":
    for page, content in pages().items():
        (HERE / page).write_text(content, "utf-8")
