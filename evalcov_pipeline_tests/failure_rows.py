"""Invented rows of the tables of failures, incidents, judges and CI suites, for what shows them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import duckdb
import numpy as np
import orjson
import polars as pl

from evalcov_pipeline.storage.warehouse import insert, one_row

TABLES = (
    "failure_signals", "signal_thresholds", "failure_batches", "failure_picks",
    "signal_precision", "failure_audit", "incidents", "judge_calibration", "case_discrimination",
    "goodhart_watch", "ci_suites", "ci_suite_cases",
)  # fmt: skip
SIGNALS = {
    "rephrase": (11.0, 0.41, 34), "low_retrieval": (7.5, 0.22, 18), "thumbs_down": (4.2, 0.78, 41),
    "regeneration": (3.1, 0.5, 12), "friction": (2.4, 0.69, 16), "abrupt_end": (1.9, 0.33, 9),
    "null_retrieval": (1.2, 0.6, 5), "ticket": (0.6, 1.0, 4), "negative_feedback": (0.5, None, 0),
    "flagged": (0.3, 1.0, 3), "confident_but_wrong": (0.2, 1.0, 2), "too_long": (0.1, None, 0),
}  # fmt: skip
"""Turns with the signal per 1,000, its labelled precision and how many labels that rests on."""
CATEGORIES = ("payments", "trade_in", "delivery", "returns", "warranty")


def write_failures(con: duckdb.DuckDBPyConnection, *, weeks: int = 10, seed: int = 0) -> None:
    """Rows of all tables of failures, incidents, judges and CI suites for the newest score."""
    as_of: datetime = (one_row(con, "SELECT max(as_of) AS at FROM coverage_scores") or {})["at"]
    cases = [
        row[0]
        for row in con.execute(
            "SELECT case_id FROM eval_cases WHERE status = 'active' ORDER BY case_id"
        ).fetchall()
    ]
    rng = np.random.default_rng(seed)
    for table in TABLES:
        con.execute(f"DELETE FROM {table}")
    ends = [as_of - timedelta(weeks=back) for back in reversed(range(weeks))]
    _write(con, "failure_signals", [row for end in ends for row in _signals(end, rng)])
    _write(con, "signal_precision", [row for end in ends for row in _precision(end)])
    _write(con, "failure_batches", [_batch(end) for end in ends])
    _write_picks(con, as_of)
    _write(con, "failure_audit", _audit(as_of))
    _write(con, "incidents", _incidents(as_of, cases))
    _write(con, "judge_calibration", certificates(as_of))
    _write_suite(con, as_of, cases)
    _write(con, "goodhart_watch", _goodhart(as_of))


def certificates(as_of: datetime) -> list[dict[str, Any]]:
    """Rows of `judge_calibration`: two versions of a judge, every verdict among them."""
    return [
        _certificate(as_of, "careful-judge", "7", "payments", "GATE", 0.94, 0.84, 240),
        _certificate(as_of, "careful-judge", "7", "delivery", "TREND_ONLY", 0.88, 0.64, 120),
        _certificate(as_of, "careful-judge", "7", "returns", "REFUSED", 0.71, 0.22, 90),
        _certificate(as_of, "careful-judge", "7", "trade_in", "INSUFFICIENT", 0.85, None, 20),
        _certificate(as_of, "quick-judge", None, "payments", "REFUSED", 0.62, 0.05, 75),
        _certificate(as_of, "quick-judge", None, "warranty", "INSUFFICIENT", None, None, 0),
    ]


def _signals(as_of: datetime, rng: np.random.Generator) -> list[dict[str, Any]]:
    return [
        {
            "as_of": as_of, "source": "generic", "trace_id": f"f-{as_of:%m%d}-{signal}-{number}",
            "turn_index": 0, "signal": signal, "session_id": f"s-{number}",
            "started_at": as_of - timedelta(days=1), "strength": 0.8,
            "evidence": "said again in other words", "threshold": None, "text_hash": None,
        }
        for signal, (rate, *_) in SIGNALS.items()
        for number in range(int(rng.poisson(4 * rate)))
    ]  # fmt: skip


def _precision(as_of: datetime) -> list[dict[str, Any]]:
    rows = {**SIGNALS, "none": (967.0, 0.06, 15), "any": (33.0, 0.52, 108)}
    return [
        {
            "as_of": as_of, "signal": signal, "n_signals": round(4 * rate), "n_labelled": n,
            "n_bad": round(n * (precision or 0)), "precision": precision,
            "precision_low": None if precision is None else max(0.0, precision - 0.8 / n**0.5),
            "precision_high": None if precision is None else min(1.0, precision + 0.8 / n**0.5),
        }
        for signal, (rate, precision, n) in rows.items()
    ]  # fmt: skip


def _batch(as_of: datetime) -> dict[str, Any]:
    return {
        "batch_id": f"failures-{as_of:%Y%m%d}", "as_of": as_of, "size": 15, "n_turns": 4000,
        "n_signalled": 130, "n_near_duplicates": 9, "exploration_share": 0.2,
        "random_share": 0.2, "signals": "[]", "note": None, "created_at": as_of,
    }  # fmt: skip


def _write_picks(con: duckdb.DuckDBPyConnection, as_of: datetime) -> None:
    """The turns of a batch of 15, of which 6 are labelled and 4 of these bad."""
    batch_id = _batch(as_of)["batch_id"]
    names = list(SIGNALS)
    con.execute("DELETE FROM annotation_queue WHERE batch_id = ?", [batch_id])
    for number in range(15):
        task = f"{batch_id}-{number}"
        pick = {
            "batch_id": batch_id, "task_id": task, "source": "generic", "trace_id": f"f-{number}",
            "turn_index": 0, "text_hash": f"h-{number}", "inclusion_probability": 0.01,
            "signals": [names[number]] if number < len(names) else [],
        }  # fmt: skip
        queued = {
            "task_id": task, "batch_id": batch_id, "purpose": "failure", "text": "where is it",
            "text_hash": f"h-{number}", "reason": "said again", "designed": True,
            "status": ("kept" if number < 4 else "rejected") if number < 6 else "open",
            "route": "failures", "priority": 1.0, "raters_wanted": 1, "created_at": as_of,
        }  # fmt: skip
        _write(con, "failure_picks", [pick])
        _write(con, "annotation_queue", [queued])
        if number < 6:
            label = {
                "task_id": task, "rater": "eve", "keep": number < 4, "passed": number >= 4,
                "first_at": as_of, "at": as_of, "via": "review",
            }  # fmt: skip
            _write(con, "annotations", [label])


def _audit(as_of: datetime) -> list[dict[str, Any]]:
    quarter = f"{as_of.year}-Q{(as_of.month + 2) // 3}"
    rows: Sequence[tuple[str, int, int, int, float | None, int, str]] = (
        ("wrong_policy", 41, 6, 1, 0.012, 0, "unrepresented"),
        ("lost_parcel", 30, 0, 0, None, 0, "unrepresented"),
        ("payments", 25, 4, 2, 0.006, 2, "thin"),
        ("delivery", 12, 3, 0, 0.004, 9, "never_failed"),
        ("returns", 9, 2, 1, 0.002, 11, "represented"),
        ("uncategorised", 50, 0, 0, None, 0, "unknown"),
    )
    return [
        {
            "quarter": quarter, "category": category, "rank": rank, "observed": observed,
            "labelled": labelled, "assigned": observed - labelled - incidents,
            "incidents": incidents, "rate": rate, "rate_low": None if rate is None else rate / 3,
            "rate_high": None if rate is None else rate * 2.5, "eval_cases": n,
            "regression_cases": n // 2, "status": status, "as_of": as_of,
            "newest_case_at": as_of - timedelta(days=10 * n) if n else None,
            "last_failed_at": as_of - timedelta(days=9) if status == "represented" else None,
            "reason": "no active case is filed under it" if n == 0 else f"{n} cases",
        }
        for rank, (category, observed, labelled, incidents, rate, n, status) in enumerate(rows, 1)
    ]  # fmt: skip


def _incidents(as_of: datetime, cases: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "incident_id": f"INC-{number}", "title": title, "at": as_of - timedelta(days=12),
            "category": CATEGORIES[number], "severity": "high", "postmortem": None,
            "trace_ids": [], "case_ids": list(cases[:number]), "cases_wanted": 2,
            "coverage": f"{number}/2", "status": ("open", "partial", "guarded")[number],
            "version": 1, "first_recorded_at": as_of, "recorded_at": as_of,
        }
        for number, title in enumerate(
            ("Duplicate charge called a reservation", "Told to wipe the device", "Wrong window")
        )
    ]  # fmt: skip


def _certificate(
    as_of: datetime, judge: str, prompt: str | None, category: str, verdict: str,
    agreement: float | None, kappa: float | None, n: int,
) -> dict[str, Any]:  # fmt: skip
    row: dict[str, Any] = {
        "judge_id": judge, "judge_model": "some-model" if prompt else None,
        "prompt_version": prompt, "rubric_version": None, "category": category,
        "calibrated_at": as_of, "verdict": verdict,
        "reason": f"the lower end of kappa is {(kappa or 0) - 0.1:.2f}",
        "what_would_change_it": None if verdict == "GATE" else "30 more labels",
        "notes": None, "basis": "labels drawn blind to the verdict", "n_judged": 4 * n,
        "n_labelled": n, "n": n, "n_pass": n - n // 4, "n_fail": n // 4, "n_disputed": 0,
        "n_unjudged": 0, "n_double": 12, "corrected_reason": "PPI++", "leniency": 0.04,
        "leniency_p": 0.03,
    }  # fmt: skip
    for name, value in (
        ("agreement", agreement), ("kappa", kappa), ("tpr", 0.96 if kappa else None),
        ("tnr", 0.7 if kappa else None), ("verbosity_slope", 0.4 if kappa else None),
        ("corrected_rate", 0.81 if verdict in ("GATE", "TREND_ONLY") else None),
    ):  # fmt: skip
        low, high = f"{name.removesuffix('_rate')}_low", f"{name.removesuffix('_rate')}_high"
        row |= {name: value, low: value and value - 0.1, high: value and min(1, value + 0.05)}
    return row


def _write_suite(con: duckdb.DuckDBPyConnection, as_of: datetime, cases: Sequence[str]) -> None:
    """A suite of 24 of the cases; four others are flaky, one looks mislabelled."""
    suite_id, chosen = "5f0c5a1b2c3d4e5f", list(cases[:24])
    con.execute("UPDATE eval_cases SET tags = ['adversarial'] WHERE case_id IN (?, ?)", chosen[-2:])
    left_out = [{"case_id": case, "reason": "flaky"} for case in cases[24:28]]
    suite = {
        "suite_id": suite_id, "created_at": as_of, "chosen_at": as_of, "n_cases": len(chosen),
        "n_deciding": len(chosen) - 1, "budget_s": 300.0, "workers": 4, "expected_s": 212.0,
        "detection_power": 0.83, "n_failure_modes": len(CATEGORIES), "note": None,
        "weighed_by": "evenly",
        "left_out": orjson.dumps(left_out).decode(),
    }  # fmt: skip
    _write(con, "ci_suites", [suite])
    rows = [
        {
            "suite_id": suite_id, "case_id": case, "version": 1,
            "rank": number + 1, "decides": number != 1,
            "reason": "guards incident INC-2" if number < 2 else "adds 3.1% detection",
            "expected_s": 3.5, "failure_mode": CATEGORIES[number % 5], "pass_rate": 0.97,
            "pass_rate_tries": 12.0, "incident_id": "INC-2" if number < 2 else None,
            "refused_judges": [],
        }
        for number, case in enumerate(chosen)
    ]  # fmt: skip
    _write(con, "ci_suite_cases", rows)
    _write(con, "case_discrimination", [_told(case, i, as_of) for i, case in enumerate(cases)])


def _told(case: str, number: int, as_of: datetime) -> dict[str, Any]:
    flaky = 24 <= number < 28
    return {
        "case_id": case, "case_status": "active", "n_runs": 10,
        "n_failed": number % 4, "n_known_bad": 3,
        "pass_rate": 0.9, "pass_rate_tries": 12.0, "flip_rate": 0.1,
        "flakiness": 0.4 if flaky else 0.02, "flaky": flaky, "saturated": number % 4 == 0,
        "broken": False, "failing": False, "discrimination": None,
        "discrimination_reason": "fewer than 15 systems", "kills": number % 3,
        "review": "passes where the others fail" if number == 30 else None,
        "unfit": "flaky" if flaky else None, "last_failed_at": as_of if number % 4 else None,
    }  # fmt: skip


def _goodhart(as_of: datetime) -> list[dict[str, Any]]:
    return [
        {
            "at": as_of - timedelta(days=30 * (5 - number)), "suite_cases": 120,
            "suite_passed": 100 + 4 * number, "fresh_cases": 40, "fresh_passed": 33 - number,
            "gap": 0.0, "gap_low": -0.1, "gap_high": 0.1, "mean_gap": 0.13, "gap_p_value": 0.002,
            "slope": 0.05, "slope_p_value": 0.01, "verdict": "widening",
        }
        for number in range(5)
    ]  # fmt: skip


def _write(con: duckdb.DuckDBPyConnection, table: str, rows: list[dict[str, Any]]) -> None:
    insert(con, table, pl.DataFrame(rows, infer_schema_length=None))
