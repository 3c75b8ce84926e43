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
    from evalcov_pipeline.defs.support.partitions import now
    from evalcov_pipeline.services.labels.arrival import suggest_labels

    settings = get_settings()
    suggested = suggest_labels(settings, now())
    jobs.announce(settings, "suggestions", suggested.counts)
    if suggested.merged:
        jobs.announce_labels(settings, suggested.labels, suggested.merged)
    rows = suggested.agreement.to_dicts()
    if as_json:
        mode = settings.suggestions.mode
        content = {**suggested.counts, "mode": mode, "agreement": rows}
        click.echo(orjson.dumps(content, option=orjson.OPT_INDENT_2).decode())
        return
    _print(settings.suggestions, suggested.counts, rows)


def _print(rules: SuggestionSettings, counts: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    counted = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in counts.items())
    click.echo(f"suggestions (mode {rules.mode}): {counted}")
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
