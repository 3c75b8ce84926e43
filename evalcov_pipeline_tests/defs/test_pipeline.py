"""The pipeline end to end, through Dagster's own machinery, on a small home without a model."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import dagster as dg
import duckdb
import numpy as np
import polars as pl
import pytest

from evalcov_pipeline.cli.run import run_weeks
from evalcov_pipeline.cli.status import read_status
from evalcov_pipeline.definitions import build_definitions, defs
from evalcov_pipeline.defs.assets.sessions import session_taxonomy
from evalcov_pipeline.defs.assets.taxonomy import taxonomy
from evalcov_pipeline.errors import BadInput, CheckFailed
from evalcov_pipeline.services.home import warehouse_of
from evalcov_pipeline.services.labels.queue import record_labels
from evalcov_pipeline.services.taxonomy import taxonomies
from evalcov_pipeline.settings import RefreshSettings, Settings, TaxonomySettings
from evalcov_pipeline.storage.schema import tables
from evalcov_pipeline_tests.conftest import (
    FIRST_DAY,
    LAST_WEEK,
    SCORE,
    TOPICS,
    cases,
    import_rows,
    quick_settings,
    results,
    score_week,
    turns,
)

WEEK_BEFORE = LAST_WEEK - timedelta(days=7)

CLOCKS = {"created_at", "imported_at", "at", "hash", "previous_hash"}
_WEEKLY_JOB = defs.resolve_job_def("weekly_coverage").asset_layer
WEEKLY = sorted({key.to_user_string() for key in _WEEKLY_JOB.selected_asset_keys} & tables().keys())
"""Tables that the weekly job writes."""
FITTED = {key.to_user_string() for fit in (taxonomy, session_taxonomy) for key in fit.keys}


def query(settings: Settings, sql: str) -> pl.DataFrame:
    with duckdb.connect(settings.published, read_only=True) as con:
        return con.sql(sql).pl()


def written(settings: Settings) -> dict[str, pl.DataFrame]:
    """What the weekly job published, without wall clocks, rows in a fixed order."""
    rows = {name: query(settings, f"SELECT * FROM {name} ORDER BY ALL") for name in WEEKLY}
    return {
        name: frame.drop([c for c in frame.columns if c in CLOCKS]) for name, frame in rows.items()
    }


def test_a_proportional_suite_is_scored_and_not_degraded(scored: Settings) -> None:
    score = read_status(scored).score
    assert score.as_of == LAST_WEEK + timedelta(days=7)
    assert score.n_eval == 60
    assert not score.degraded
    assert score.jsd_ci_low <= score.jsd_adjusted <= score.jsd_ci_high
    assert score.eval_score == pytest.approx(
        np.mean([row["passed"] for row in results("run-1", LAST_WEEK)])
    )
    assert score.reweighted_low <= score.reweighted_score <= score.reweighted_high
    assert score.latency_ms == 300.0


def test_weights_shares_and_contributions_add_up(scored: Settings) -> None:
    weights = query(
        scored,
        "SELECT sum(traffic_weight) AS t, sum(steady_weight) AS s FROM trace_sample GROUP BY as_of",
    )
    assert weights["t"].to_list() == pytest.approx([1.0] * 2)
    assert weights["s"].to_list() == pytest.approx([1.0] * 2)
    sums = query(
        scored,
        "SELECT sum(production_share) AS p, sum(traffic_share) AS t, sum(eval_share) AS q,"
        " sum(jsd_contribution) - any_value(jsd) AS off, sum(eval_cases) - any_value(n_eval) AS n"
        " FROM cluster_coverage JOIN coverage_scores USING (as_of, taxonomy_id)"
        " GROUP BY as_of, taxonomy_id",
    )
    assert np.allclose(sums.select("p", "t", "q").to_numpy(), 1)
    assert np.allclose(sums.select("off", "n").to_numpy(), 0)


def forget_scores(settings: Settings) -> None:
    """Delete what the weekly runs wrote but for the taxonomies, so that a run writes it anew."""
    with warehouse_of(settings).writer() as con:
        for table in set(WEEKLY) - FITTED:
            con.execute(f"DELETE FROM {table}")


def test_weeks_scored_anew_have_the_numbers_that_they_had(scored: Settings, copy: Settings) -> None:
    forget_scores(copy)
    for week in (WEEK_BEFORE, LAST_WEEK):
        score_week(copy, week)
    after = written(copy)
    for name, before in written(scored).items():
        assert after[name].equals(before), name


def test_running_a_week_again_changes_nothing(scored: Settings, copy: Settings) -> None:
    run_weeks(copy, "weekly_coverage", LAST_WEEK.date())
    after = written(copy)
    for name, before in written(scored).items():
        assert after[name].equals(before), name


def test_row_order_and_file_split_do_not_matter(scored: Settings, tmp_path: Path) -> None:
    settings = quick_settings(tmp_path / "home", failures=scored.failures)
    rows = turns()
    np.random.default_rng(9).shuffle(rows)  # type: ignore[arg-type]
    for part in range(3):
        import_rows(settings, "traces", rows[part::3], f"part-{part}")
    suite = cases(60)[::-1]
    import_rows(settings, "evals", suite, "suite")
    import_rows(settings, "results", results("run-1", LAST_WEEK)[::-1], "results")
    score_week(settings, WEEK_BEFORE)
    score_week(settings, LAST_WEEK)
    other = written(settings)
    for name, one in written(scored).items():
        assert other[name].equals(one), name


def test_a_refit_keeps_old_numbers_and_shows_its_own_break(
    scored: Settings, copy: Settings
) -> None:
    score_week(copy, LAST_WEEK, groups=SCORE, job="monthly_taxonomy")
    last = LAST_WEEK + timedelta(days=7)
    rows = query(copy, f"SELECT * FROM coverage_scores WHERE as_of = '{last}' ORDER BY headline")
    assert rows["headline"].to_list() == [False, True]
    before = read_status(scored).score
    under_previous = rows.to_dicts()[0]
    assert under_previous["taxonomy_id"] == before.taxonomy_id
    assert under_previous["jsd_adjusted"] == before.jsd_adjusted
    lineage = query(copy, "SELECT relation FROM taxonomy_lineage")
    assert lineage.height > 0
    score_week(copy, WEEK_BEFORE, groups=SCORE)
    week = f"as_of = '{LAST_WEEK}'"
    old = query(scored, f"SELECT * FROM coverage_scores WHERE {week}")
    assert query(copy, f"SELECT * FROM coverage_scores WHERE {week}").equals(old)


def test_weeks_of_one_run_equal_weeks_run_one_by_one(scored: Settings, copy: Settings) -> None:
    forget_scores(copy)
    score_week(copy, WEEK_BEFORE, LAST_WEEK)
    after = written(copy)
    for name, before in written(scored).items():
        assert after[name].equals(before), name


def test_a_degraded_suite_is_refreshed_labelled_merged_and_nearer_to_traffic(
    tmp_path: Path,
) -> None:
    home = quick_settings(tmp_path / "home", refresh=RefreshSettings(per_user=50))
    narrow = [1.0, 1.0] + [0.0] * (len(TOPICS) - 2)
    import_rows(home, "traces", turns(weeks=3), "traffic")
    import_rows(home, "evals", cases(120, narrow), "narrow")
    run_weeks(home, "weekly_coverage")
    status = read_status(home)
    assert status.score.degraded
    assert status.score.band == "severe"
    assert "refresh" in status.steps[0]

    definitions = build_definitions(home)
    with dg.DagsterInstance.get() as instance:
        context = dg.build_sensor_context(instance=instance, resources={"settings": home})
        ticked = definitions.resolve_sensor_def("coverage_degraded").evaluate_tick(context)
        (request,) = ticked.run_requests or []
        run = definitions.resolve_job_def("refresh").execute_in_process(
            instance=instance, run_config=request.run_config, tags=request.tags
        )
    assert run.success
    plan = query(home, "SELECT * FROM refresh_plans").to_dicts()
    assert [p["trigger"] for p in plan] == ["coverage_degraded"]
    uncovered = query(
        home,
        "SELECT cluster_id FROM cluster_coverage JOIN coverage_scores USING (as_of, taxonomy_id)"
        f" WHERE as_of = '{status.score.as_of}' AND eval_cases = 0"
        " AND production_share > 0.04 AND cluster_id >= 0",
    )["cluster_id"]
    assert len(uncovered) > 0
    targets = pl.read_json(plan[0]["targets"].encode())
    assert set(uncovered) <= set(targets["cluster_id"])
    assert targets["cases"].sum() == home.refresh.budget

    tasks = query(home, "SELECT task_id FROM annotation_queue ORDER BY task_id")["task_id"]
    labels = [{"task_id": task, "rater": "ann", "keep": i % 5 > 0} for i, task in enumerate(tasks)]
    at = status.score.as_of - timedelta(days=1)
    with warehouse_of(home).writer() as con:
        record_labels(con, labels, via="jsonl", recorded_at=at, redact_all=list)
    run_weeks(home, "weekly_coverage")
    after = read_status(home).score
    kept = sum(label["keep"] for label in labels)
    assert after.n_eval == 120 + kept
    assert after.jsd_adjusted < status.score.jsd_adjusted / 2
    (done,) = query(home, "SELECT * FROM refresh_plans").to_dicts()
    assert done["n_kept"] == kept
    assert done["jsd_after"] == after.jsd_adjusted
    assert abs(done["jsd_after"] - done["jsd_projected"]) < 0.05


def test_a_week_without_traffic_has_no_score_though_its_window_has(tmp_path: Path) -> None:
    settings = quick_settings(tmp_path / "home")
    import_rows(settings, "traces", turns(weeks=2), "traffic")
    import_rows(settings, "evals", cases(20), "suite")
    quiet = FIRST_DAY + timedelta(weeks=2)
    score_week(settings, FIRST_DAY, quiet)
    scored = query(settings, "SELECT as_of FROM coverage_scores ORDER BY as_of")["as_of"]
    assert scored.to_list() == [FIRST_DAY + timedelta(weeks=1), quiet]
    with pytest.raises(BadInput, match="no production traffic"):
        read_status(settings, quiet + timedelta(weeks=1))


def test_a_failed_blocking_check_stops_the_run_before_anything_is_published(
    copy: Settings,
) -> None:
    published = copy.published.read_bytes()
    with warehouse_of(copy).writer() as con:
        con.execute("UPDATE eval_case_events SET actor = 'eve' WHERE event_id = 3")
    with pytest.raises(CheckFailed, match="ledger_is_intact"):
        run_weeks(copy, "weekly_coverage", LAST_WEEK.date())
    assert copy.published.read_bytes() == published


def test_rows_that_fail_a_blocking_check_are_never_written(copy: Settings) -> None:
    def suite_of_one() -> list[tuple[object, ...]]:
        with warehouse_of(copy).reader() as con:
            return con.execute("SELECT case_id FROM eval_cases").fetchall()

    with warehouse_of(copy).writer() as con:
        con.execute("UPDATE eval_case_events SET actor = 'eve' WHERE event_id = 3")
        con.execute("DELETE FROM eval_cases WHERE case_id != 'case-007'")
    with pytest.raises(CheckFailed, match="first_broken_event: 3"):
        run_weeks(copy, "weekly_coverage", LAST_WEEK.date())
    assert suite_of_one() == [("case-007",)]


@pytest.mark.slow
def test_a_fit_with_earlier_settings_becomes_the_headline_again(copy: Settings) -> None:
    def clusters(most: int) -> int:
        rules = copy.taxonomy.model_copy(update={"max_clusters": most})
        settings = copy.model_copy(update={"taxonomy": rules})
        run_weeks(settings, "monthly_taxonomy", LAST_WEEK.date())
        found: int = read_status(settings).score.n_clusters
        return found

    first = clusters(20)
    assert clusters(6) != first
    assert clusters(20) == first
    assert query(copy, "SELECT count(*) FROM taxonomies").item() == 3


@pytest.mark.slow
def test_a_taxonomy_whose_files_are_lost_is_fitted_again(copy: Settings) -> None:
    run_weeks(copy, "monthly_taxonomy", LAST_WEEK.date())
    before = read_status(copy).score
    shutil.rmtree(copy.taxonomies / before.taxonomy_id)
    taxonomies.load.cache_clear()
    run_weeks(copy, "monthly_taxonomy", LAST_WEEK.date())
    assert read_status(copy).score == before


def test_traffic_without_a_suite_has_clusters_but_no_divergence(without_suite: Settings) -> None:
    score = read_status(without_suite).score
    assert score.n_eval == 0
    assert score.jsd_adjusted is None
    assert query(without_suite, "SELECT bool_and(in_gap) FROM text_coverage").item()


def test_running_before_any_import_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="evalcov ingest traces"):
        run_weeks(quick_settings(tmp_path / "home"), "weekly_coverage")


def test_eval_and_test_traffic_never_enters_a_sample(copy: Settings) -> None:
    start = FIRST_DAY + timedelta(weeks=6)
    rows = [
        {**row, "environment": "eval", "trace_id": f"e-{row['trace_id']}"}
        for row in turns(weeks=1, start=start, seed=8)
    ]
    import_rows(copy, "traces", rows, "eval-traffic")
    score_week(copy, start, groups=["sampling"])
    assert query(copy, "SELECT count(*) FROM trace_sample WHERE trace_id LIKE 'e-%'").item() == 0


RUN_AND_TELL = """
import sys
from evalcov_pipeline.cli import main
try:
    main(["run", "weekly"])
except SystemExit as ended:
    print(ended.code, [name for name in ("torch", "umap", "sklearn") if name in sys.modules])
"""


def test_a_weekly_run_without_new_texts_loads_no_model_and_is_quick(tmp_path: Path) -> None:
    few = TaxonomySettings(method="kmeans", min_clusters=6, max_clusters=12)
    settings = Settings(home=tmp_path / "home", taxonomy=few)
    import_rows(settings, "traces", turns(weeks=1, sessions_per_day=6), "traffic")
    import_rows(settings, "evals", cases(20), "suite")
    score_week(settings, FIRST_DAY)
    began = _processor_time_of_children()
    ended = subprocess.run(
        [sys.executable, "-c", RUN_AND_TELL],
        env={**os.environ, "EVALCOV_HOME": str(settings.home)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.splitlines()[-1] == "0 []"
    assert _processor_time_of_children() - began < 15


def _processor_time_of_children() -> float:
    """Seconds that ended children were computing; how busy the machine is does not matter."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
