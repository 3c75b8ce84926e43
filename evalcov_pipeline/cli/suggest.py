"""`evalcov suggest`: suggested labels for queued queries."""

from __future__ import annotations

from typing import Any

import click
import orjson

from evalcov_pipeline.settings import SuggestionSettings, get_settings


@click.command("suggest")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(as_json: bool) -> None:
    """Suggest labels for queries that wait, from what people said about similar ones.

    Part of the suggestions is hidden from people, to measure how often they agree; a cluster where
    they do not falls back to people.
    """
    from evalcov_pipeline.cli import jobs
    from evalcov_pipeline.defs.support import events
    from evalcov_pipeline.defs.support.partitions import now
    from evalcov_pipeline.errors import CheckFailed
    from evalcov_pipeline.services.evals.ledger import broken_link
    from evalcov_pipeline.services.home import publish, warehouse_of
    from evalcov_pipeline.services.labels.merging import merge_and_derive
    from evalcov_pipeline.services.labels.proposals import prepare
    from evalcov_pipeline.services.labels.suggestions import record, summary

    settings = get_settings()
    warehouse = warehouse_of(settings)
    prepared = prepare(warehouse, settings)
    with warehouse.writer() as con:
        report = record(con, prepared, settings, now())
        if labels := report.accepted + report.withdrawn:
            if (event := broken_link(con)) is not None:
                raise CheckFailed(
                    f"nothing was suggested: the ledger, which accepted labels go into, is broken"
                    f" at event {event}; see `evalcov doctor`"
                )
            merged, *_ = merge_and_derive(con, settings, now())
    publish(settings)
    counts = summary(prepared, report)
    jobs.announce(settings, "suggestions", counts)
    if labels:
        jobs.announce(settings, events.LABELS, events.labelled(labels, merged.waiting_of_plans))
    rows = report.agreement.to_dicts()
    if as_json:
        content = {**counts, "mode": settings.suggestions.mode, "agreement": rows}
        click.echo(orjson.dumps(content, option=orjson.OPT_INDENT_2).decode())
        return
    _print(settings.suggestions, counts, rows)


def _print(rules: SuggestionSettings, counts: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    said = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in counts.items())
    click.echo(f"suggestions (mode {rules.mode}): {said}")
    if not rows:
        click.echo("Nobody has labelled queued queries yet: `evalcov review`")
        return
    click.echo(f"{'cluster':<34}{'labelled':>9}{'suggested':>10}{'audited':>8}  agreement")
    for row in rows:
        name = row["cluster_label"] or row["cluster_key"]
        of_all = row["state"] is None
        counted = f"{row['labelled']:>9}{row['suggested']:>10}{row['audited']:>8}"
        by = "" if row["by"] == "neighbours" else f" [{row['by']}]"
        click.echo(
            f"{'all clusters' if of_all else name[:33]:<34}{counted}  {_agreement(row):<20}"
            f"{row['reason'] if of_all else _state(row, rules.least_labelled)}{by}"
        )


def _agreement(row: dict[str, Any]) -> str:
    if row["agreement"] is None:
        return "-"
    return f"{row['agreement']:.0%} ({row['agreement_low']:.0%} to {row['agreement_high']:.0%})"


def _state(row: dict[str, Any], least_labelled: int) -> str:
    if row["state"] == "fallen_back":
        return f"fallen back to people: {row['reason']}"
    if not row["suggested"]:
        missing = least_labelled - row["labelled"]
        return f"{missing} more labels wanted" if missing > 0 else "nothing to suggest"
    return str(row["state"])
