"""The report: one HTML file that needs nothing else, written from the published tables."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from markupsafe import Markup

from evalcov_pipeline.core.coverage.gaps import FALSE_GAP_SHARE, GAP_PRIOR
from evalcov_pipeline.reports import charts
from evalcov_pipeline.reports.drawing import FULL, at_sizes, shortened
from evalcov_pipeline.reports.failures import failure_content
from evalcov_pipeline.reports.findings import (
    LOCAL_GAP_LEAST,
    LOCAL_GAP_SHARE,
    Gap,
    doubts,
    failure_findings,
    find_gaps,
    has_local_gap,
    next_steps,
)
from evalcov_pipeline.reports.heat import shaded
from evalcov_pipeline.reports.judges import judge_content
from evalcov_pipeline.reports.sessions import session_content
from evalcov_pipeline.reports.suites import suite_content
from evalcov_pipeline.reports.traffic_map import LEVELS, MOST_POINTS, Badge, traffic_map
from evalcov_pipeline.services.report.scored import Scored, read_scored
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.files import write_beside, write_whole
from evalcov_pipeline.storage.published import reading

if TYPE_CHECKING:
    import jinja2

TOP_GAPS = 8
_LONGEST_BADGE, _LONGEST_NAME, _LONGEST_KIND, _LONGEST_SENTENCE = 34, 80, 140, 400
_MAP = {"phone": 320, "desktop": 960}
_HALF = {"phone": 225, "tablet": 480, "desktop": 340}
"""Widths of plots without their axes by screen, in pixels; half: of two side by side."""
_DIAGNOSES = {
    "coverage_gap_widening": "The coverage gap is widening: traffic moves away from the suite,"
    " while the pass rate holds.",
    "quality_changed": "Quality changed: the pass rate falls, while coverage holds. Look at the"
    " model, the prompt or the world.",
    "both": "Both moved: coverage is getting worse and the pass rate falls.",
    "stable": "Stable: neither coverage nor the pass rate shows a trend.",
    "judge_changed": "The judge changed: pass rates before and after it do not compare.",
}


@dataclass(frozen=True)
class Written:
    """A report that was written.

    Attributes:
        path: of the file.
        size: in bytes.
        verdict: of the score that it shows; None if it says that there is no score yet.
    """

    path: Path
    size: int
    verdict: str | None


def write_report(settings: Settings, out: Path | None = None) -> Written:
    """Write the report of the newest published score, whole or not at all.

    It reads the published snapshot only, so it never waits for the pipeline and always agrees with
    what notebooks see.

    Args:
        settings: where the snapshot lies, and the thresholds that the page names.
        out: the file; `settings.report` by default.

    Raises:
        BadInput: what lies where the snapshot should be cannot be read.
    """
    scored = None
    if settings.published.exists():
        with reading(settings.published) as con:
            scored = read_scored(con)
    content = render(scored, settings).encode()
    path = out or settings.report
    if out:
        write_beside(path, content)
    else:
        write_whole(settings.home, path, content)
    return Written(path, len(content), scored.score.verdict if scored else None)


def render(scored: Scored | None, settings: Settings) -> str:
    """The page as HTML.

    Args:
        scored: what it shows; None before the first score.
        settings: the thresholds that it names.
    """
    script = _file("report.js")
    return _template().render(
        style=Markup(_file("report.css")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        settings=settings,
        **(_content(scored, settings) if scored else {"score": None}),
    )


@cache
def _template() -> jinja2.Template:
    """The page before it is filled; compiled once in a process."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("evalcov_pipeline.reports", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "percent": _percent, "rate": _rate, "times": _times, "number": _number, "day": _day,
        "words": _words, "name": _name, "kind": _kind,
        "example": _example, "sentence": _sentence,
    }  # fmt: skip
    return environment.get_template("report.html.j2")


def _content(scored: Scored, settings: Settings) -> dict[str, Any]:
    score = scored.score
    gaps = find_gaps(scored, settings.coverage.liability_share)
    shown = gaps[:TOP_GAPS]
    origins = sorted(scored.suite["origin"].unique())
    heat = _heat(scored)
    return {
        "score": score,
        "taxonomy": scored.taxonomy,
        "diagnosis": score.diagnosis and _DIAGNOSES[score.diagnosis],
        "weeks": scored.history["as_of"].n_unique(),
        "refits": scored.history.filter("headline")["taxonomy_id"].n_unique() - 1,
        "judges_of_weeks": scored.history.filter("headline")["judge_id"].drop_nulls().n_unique(),
        "trends": at_sizes(FULL, charts.trend, scored.history, settings.coverage.threshold)
        if scored.history["jsd_adjusted"].count()
        else None,
        "urgent": [row for row in heat if not row["calm"]],
        "calm": [row for row in heat if row["calm"]],
        "map": _map(scored, shown),
        "drawn": min(len(scored.texts), MOST_POINTS),
        "sampled_texts": len(scored.texts),
        "levels": LEVELS,
        "gaps": shown,
        "more_gaps": len(gaps) - len(shown),
        "sessions": session_content(scored.sessions, scored.clusters) if scored.sessions else None,
        "origins": [
            (origin, scored.cases.filter(pl.col("origin") == origin).height) for origin in origins
        ],
        "ages": at_sizes(_HALF, charts.ages, scored.cases, score.as_of, origins),
        "sizes": at_sizes(_HALF, charts.suite_size, scored.suite, origins),
        "changes": scored.changes,
        "doubts": doubts(scored),
        "refreshes": scored.refreshes.to_dicts(),
        "findings": failure_findings(scored.failures),
        "failures": failure_content(scored.failures, score.as_of),
        "judges": judge_content(scored.failures),
        "ci": suite_content(scored.failures, settings.suites.adversarial_tag),
        "steps": next_steps(
            score,
            gaps,
            waiting=scored.waiting,
            answers=scored.answers,
            sessions=scored.sessions,
        ),
        "marked_by_chance": FALSE_GAP_SHARE,
        "local_gap_share": LOCAL_GAP_SHARE,
        "local_gap_least": LOCAL_GAP_LEAST,
    }


def _heat(scored: Scored) -> list[dict[str, Any]]:
    """Rows of the heat map of clusters, with local gaps, the age of the newest case and a trend."""
    rows = shaded(scored.clusters)
    for row in rows:
        newest = row["newest_case_at"]
        age = (scored.score.as_of - newest).days if newest else None
        local = row["status"] not in ("liability", "gap", "novel") and has_local_gap(row)
        row |= {
            "local_gap": local and scored.score.n_eval > 0,
            "calm": row["calm"] and not local,
            "age": age,
            "age_shade": None if age is None else min(1.0, age / 365),
            "spark": charts.sparkline(row["shares"] or []),
        }
    return rows


def _map(scored: Scored, gaps: Sequence[Gap]) -> dict[str, Markup] | None:
    """The 2-D map, or None without texts; of very many texts a part chosen by hash."""
    texts = scored.texts.head(MOST_POINTS)
    if texts.is_empty():
        return None
    marked = texts["in_gap"].to_numpy()
    score = texts["gap_score"].to_numpy()
    deep = np.median(score[marked]) if marked.any() else 0.0
    level = np.where(marked, 2 + (score > deep), score > GAP_PRIOR)
    texts = texts.with_columns(level=pl.Series([LEVELS[i] for i in level]))
    badges = [Badge(gap.x, gap.y, shortened(gap.label, _LONGEST_BADGE)) for gap in gaps]
    return at_sizes(_MAP, traffic_map, texts, scored.cases, badges)


def _file(name: str) -> str:
    return resources.files("evalcov_pipeline.reports").joinpath(name).read_text("utf-8")


def _percent(share: float | None) -> str:
    """A share in per cent, with a decimal where it is small."""
    if share is None:
        return "–"
    return f"{share:.1%}" if 0 < share < 0.1 else f"{share:.0%}"


def _rate(rate: float | None) -> str:
    return "–" if rate is None else f"{rate:.0%}"


def _times(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio:.1f}×" if ratio else "0×"


def _number(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _day(instant: datetime | None) -> str:
    return "–" if instant is None else f"{instant.day} {instant:%b %Y}"


def _name(label: str) -> str:
    return shortened(label, _LONGEST_NAME)


def _kind(label: str) -> str:
    return shortened(label.replace(" -> ", " → ").replace(" %", "\u00a0%"), _LONGEST_KIND)


def _example(text: str) -> str:
    return shortened(" ".join(text.split()), _LONGEST_KIND)


def _sentence(text: str) -> str:
    """A text as it is where it ends a sentence, else as one."""
    text = shortened(text.strip(), _LONGEST_SENTENCE)
    return text if text.endswith((".", "…", "!", "?")) else f"{text[:1].upper()}{text[1:]}."


def _words(name: str | None) -> str:
    return (name or "unknown").replace("_", " ")
