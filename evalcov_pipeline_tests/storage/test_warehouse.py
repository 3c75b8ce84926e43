"""One writer, free readers, documented tables, atomic slices and snapshots."""

from __future__ import annotations

import subprocess
import sys
from datetime import date, datetime
from pathlib import Path

import duckdb
import polars as pl
import pytest

from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.storage.schema import tables
from evalcov_pipeline.storage.warehouse import Warehouse, frame, replace_slice, size

WEEK = datetime(2026, 11, 9)


def days(*volumes: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "as_of": [WEEK] * len(volumes),
            "day": [date(2026, 11, 2 + i) for i in range(len(volumes))],
            "sessions": volumes,
            "steady_sessions": [float(v) for v in volumes],
            "spike": [False] * len(volumes),
        }
    )


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(tmp_path / "warehouse.duckdb", lock_timeout_s=0.3)


def test_every_table_and_column_is_described(warehouse: Warehouse) -> None:
    with warehouse.reader() as con:
        undescribed = con.execute(
            "SELECT table_name, column_name FROM duckdb_columns()"
            " WHERE NOT internal AND comment IS NULL"
        ).fetchall()
        described = con.execute("SELECT table_name FROM duckdb_tables() WHERE comment != ''")
        names = {name for (name,) in described.fetchall()}
    assert undescribed == []
    assert set(tables()) <= names


def test_the_contract_s_columns_exist() -> None:
    relied_on = {
        "coverage_scores": "as_of taxonomy_id headline window_start window_end n_sessions"
        " n_production n_eff n_eval n_clusters jsd jsd_adjusted jsd_ci_low jsd_ci_high null_mean"
        " null_p95 p_value attainable_jsd covered_share unmeasured_share novel_share band degraded"
        " eval_score reweighted_score reweighted_low reweighted_high latency_ms cost_usd diagnosis",
        "cluster_coverage": "as_of taxonomy_id cluster_id cluster_key label production_share"
        " production_share_low production_share_high traffic_share eval_cases eval_share"
        " coverage_ratio jsd_contribution status newest_case_at stale pass_rate",
        "text_coverage": "as_of text_hash cluster_id gap_score in_gap",
        "taxonomies": "taxonomy_id fitted_at method n_clusters unclustered_share stability"
        " embedding_fingerprint",
        "clusters": "taxonomy_id cluster_id cluster_key label keywords exemplars size radius",
        "taxonomy_lineage": "from_taxonomy to_taxonomy from_cluster to_cluster relation overlap",
        "texts": "text_hash text first_seen_at",
        "trace_sample": "as_of source trace_id turn_index session_id stratum inclusion_probability"
        " traffic_weight steady_weight text_hash",
        "cluster_assignments": "taxonomy_id text_hash cluster_id similarity",
        "eval_cases": "case_id status origin source_ref regression created_at",
        "eval_case_events": "event_id case_id event at actor payload previous_hash hash",
        "eval_runs": "run_id",
        "eval_results": "run_id case_id repeat passed score latency_ms cost_usd judge_id",
        "refresh_plans": "plan_id as_of trigger budget jsd_before jsd_projected jsd_after",
    }
    for table, columns in relied_on.items():
        assert set(columns.split()) <= {column.name for column in tables()[table].columns}, table


def test_a_failed_write_leaves_the_old_rows(warehouse: Warehouse) -> None:
    with warehouse.writer() as con:
        replace_slice(con, "sample_days", days(3, 4), as_of=WEEK)
    broken = days(5).with_columns(sessions=pl.lit(None, pl.Int64))
    with pytest.raises(duckdb.ConstraintException), warehouse.writer() as con:
        replace_slice(con, "sample_days", broken, as_of=WEEK)
    with warehouse.reader() as con:
        assert frame(con, "SELECT sessions FROM sample_days ORDER BY day")[
            "sessions"
        ].to_list() == [
            3,
            4,
        ]


def test_columns_are_matched_by_name_not_by_place(warehouse: Warehouse) -> None:
    with warehouse.writer() as con:
        replace_slice(con, "sample_days", days(3).select(pl.all().reverse()), as_of=WEEK)
        replace_slice(con, "sample_days", days(7).select(sorted(days(7).columns)), as_of=WEEK)
    with warehouse.reader() as con:
        assert frame(con, "SELECT sessions FROM sample_days").item() == 7


HOLD = """
import sys
from evalcov_pipeline.storage.warehouse import Warehouse
from pathlib import Path
with getattr(Warehouse(Path(sys.argv[1])), sys.argv[2])() as con:
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(warehouse: Warehouse, how: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(warehouse.path), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_writer_is_told_who_holds_the_warehouse(warehouse: Warehouse) -> None:
    with warehouse.writer():
        pass
    with hold(warehouse, "writer") as holder:
        with pytest.raises(BadInput, match=f"held by process {holder.pid}"), warehouse.writer():
            pass
        holder.communicate("")


def test_readers_keep_what_they_opened_while_a_writer_goes_on(warehouse: Warehouse) -> None:
    with warehouse.writer() as con:
        replace_slice(con, "sample_days", days(3), as_of=WEEK)
    with hold(warehouse, "reader") as holder, warehouse.reader() as before:
        with warehouse.writer() as con:
            replace_slice(con, "sample_days", days(3, 4), as_of=WEEK)
        assert size(before, "sample_days") == 1
        holder.communicate("")
    with warehouse.reader() as after:
        assert size(after, "sample_days") == 2


def test_what_another_program_left_in_the_log_is_kept(warehouse: Warehouse) -> None:
    with warehouse.writer() as con:
        replace_slice(con, "sample_days", days(3), as_of=WEEK)
    write = (
        "import duckdb, os, sys\n"
        "con = duckdb.connect(sys.argv[1])\n"
        "con.execute('UPDATE sample_days SET sessions = 8')\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", write, str(warehouse.path)], check=True)
    assert warehouse.path.with_name("warehouse.duckdb.wal").exists()
    for connection in (warehouse.reader, warehouse.writer, warehouse.reader):
        with connection() as con:
            assert con.execute("SELECT sessions FROM sample_days").fetchall() == [(8,)]


def test_published_tables_can_be_read_while_the_pipeline_writes(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    published = tmp_path / "published.duckdb"
    with warehouse.writer() as con:
        replace_slice(con, "sample_days", days(3), as_of=WEEK)
    warehouse.publish(published)
    with (
        duckdb.connect(published, read_only=True) as reader,
        hold(warehouse, "writer") as holder,
    ):
        assert reader.execute("SELECT sessions FROM sample_days").fetchall() == [(3,)]
        comments = reader.execute(
            "SELECT count(*) FROM duckdb_columns() WHERE NOT internal AND comment IS NULL"
        )
        assert comments.fetchall() == [(0,)]
        holder.communicate("")
    assert [path.name for path in tmp_path.glob(".unfinished/*")] == ["lock"]


def test_an_open_reader_keeps_its_snapshot_when_a_new_one_is_published(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    published = tmp_path / "published.duckdb"
    with warehouse.writer() as con:
        replace_slice(con, "sample_days", days(3), as_of=WEEK)
    warehouse.publish(published)
    reader = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import duckdb, sys\n"
            "con = duckdb.connect(sys.argv[1], read_only=True)\n"
            "print(con.sql('SELECT sessions FROM sample_days').fetchone()[0], flush=True)\n"
            "sys.stdin.readline()\n"
            "print(con.sql('SELECT sessions FROM sample_days').fetchone()[0], flush=True)\n",
            str(published),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert reader.stdout is not None
    assert reader.stdout.readline() == "3\n"
    with warehouse.writer() as con:
        replace_slice(con, "sample_days", days(8), as_of=WEEK)
    warehouse.publish(published)
    assert reader.communicate("\n")[0] == "3\n"
    with duckdb.connect(published, read_only=True) as con:
        assert con.execute("SELECT sessions FROM sample_days").fetchall() == [(8,)]
