"""`evalcov evals`: the eval suite over time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import orjson

from evalcov_pipeline.services.evals.history import case_history, composition, suite_on
from evalcov_pipeline.settings import get_settings
from evalcov_pipeline.storage.published import reading

_CLUSTERS = 15
_LINE = 90

_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_as_of_option = click.option(
    "--as-of",
    type=click.DateTime(["%Y-%m-%d"]),
    help="The suite at the end of this day (UTC) [default: now].",
)


@click.group("evals")
def command() -> None:
    """Show what became of the eval suite: of a case, or of all of it on any day.

    Reads published.duckdb, so it works while the pipeline runs.
    """


@command.command("history")
@click.argument("case")
@_json_option
def history(case: str, as_json: bool) -> None:
    """Show every version of a CASE: when, by whom, and what changed."""
    with reading(get_settings().published) as con:
        versions = case_history(con, case)
    if as_json:
        _print_json(versions)
        return
    for version in versions:
        click.echo(
            f"{version['at']:%Y-%m-%d %H:%M}  version {version['version']}  {version['event']}"
            f" by {version['actor']}{_decided(version)}"
        )
        for name, change in version["changed"].items():
            before = "" if change["before"] is None else f"{_short(change['before'])} -> "
            click.echo(f"    {name}: {before}{_short(change['after'])}")


@command.command("list")
@_as_of_option
@_json_option
def list_(as_of: datetime | None, as_json: bool) -> None:
    """List the active cases of a day, each as it was then."""
    with reading(get_settings().published) as con:
        cases = suite_on(con, _instant(as_of)).to_dicts()
    if as_json:
        _print_json(cases)
        return
    click.echo(f"{len(cases)} active cases")
    for case in cases:
        mark = "regression " if case["regression"] else ""
        click.echo(f"  {case['case_id']}  {case['origin']}  {mark}{_short(case['input'])}")


@command.command("composition")
@_as_of_option
@_json_option
def composition_(as_of: datetime | None, as_json: bool) -> None:
    """Count the active cases of a day by origin, age and cluster, and by month up to it."""
    with reading(get_settings().published) as con:
        made_of = composition(con, _instant(as_of))
    if as_json:
        _print_json({name: frame.to_dicts() for name, frame in vars(made_of).items()})
        return
    click.echo(f"{made_of.origins['cases'].sum()} active cases")
    _print_counts("by origin", made_of.origins.iter_rows())
    _print_counts("by age", made_of.ages.iter_rows())
    _print_counts("by cluster", made_of.clusters.head(_CLUSTERS).iter_rows())
    if (more := made_of.clusters.height - _CLUSTERS) > 0:
        click.echo(f"         and {more} clusters more")
    click.echo("by month")
    for (month,), rows in made_of.months.group_by("month", maintain_order=True):
        origins = ", ".join(f"{row['cases']} {row['origin']}" for row in rows.to_dicts())
        click.echo(f"  {rows['cases'].sum():5d}  {month:%Y-%m}  {origins}")


def _instant(as_of: datetime | None) -> datetime:
    """The end of a day, or now; naive UTC."""
    return as_of + timedelta(days=1) if as_of else datetime.now(UTC).replace(tzinfo=None)


def _decided(version: Mapping[str, Any]) -> str:
    ids = ((name, version[f"{name}_id"]) for name in ("plan", "incident"))
    origin = "".join(f", {name} {value}" for name, value in ids if value)
    return f"{origin}, labelled by {', '.join(version['raters'])}" if version["raters"] else origin


def _print_counts(title: str, counts: Iterable[tuple[Any, ...]]) -> None:
    click.echo(title)
    for name, cases in counts:
        click.echo(f"  {cases:5d}  {name}")


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    text = " ".join(text.split())
    return text if len(text) <= _LINE else f"{text[: _LINE - 3]}..."


def _print_json(value: Any) -> None:
    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
