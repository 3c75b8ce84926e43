"""The code location: complete, described, and light to import."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter

import dagster as dg

from evalcov_pipeline.definitions import defs
from evalcov_pipeline.storage.schema import tables

HEAVY = [
    "torch", "transformers", "sentence_transformers", "umap", "hdbscan", "numba", "sklearn",
    "pandas", "ray", "plotly", "vl_convert",
]  # fmt: skip

CADENCE = {"daily_traces", "weekly_coverage", "monthly_taxonomy", "quarterly_refresh"}

IMPORTS = f"""
import json, sys, time
import dagster
began = time.process_time()
import evalcov_pipeline.definitions
seconds = time.process_time() - began
print(json.dumps([seconds, [name for name in {HEAVY} if name in sys.modules]]))
"""


def test_importing_the_code_location_is_light() -> None:
    printed = subprocess.run(
        [sys.executable, "-c", IMPORTS], check=True, capture_output=True, text=True
    ).stdout
    seconds, heavy = json.loads(printed)
    assert heavy == []
    assert seconds < 2.5


def test_every_asset_is_described_owned_grouped_and_of_a_kind() -> None:
    for spec in defs.resolve_all_asset_specs():
        name = spec.key.to_user_string()
        assert spec.description, name
        assert spec.owners, name
        assert spec.group_name not in (None, "default"), name
        assert spec.kinds, name


def test_every_table_is_an_asset_of_its_name_with_its_columns() -> None:
    specs = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}
    assert set(tables()) <= set(specs)
    for name, table in tables().items():
        schema = specs[name].metadata["dagster/column_schema"]
        assert [column.name for column in schema.columns] == [c.name for c in table.columns]


def test_every_asset_runs_on_a_schedule_and_only_publishing_on_two() -> None:
    runs = Counter(
        key.to_user_string()
        for job in CADENCE - {"monthly_taxonomy"}
        for key in defs.resolve_job_def(job).asset_layer.selected_asset_keys
    )
    graph = defs.resolve_asset_graph()
    assert set(runs) == {key.to_user_string() for key in graph.materializable_asset_keys}
    assert {name for name, n in runs.items() if n > 1} == {"published", "coverage_report"}


def test_jobs_schedules_and_sensors_have_the_contract_s_names_and_start_stopped() -> None:
    repository = defs.get_repository_def()
    jobs = {job.name for job in repository.get_all_jobs()}
    assert {*CADENCE, "refresh"} <= jobs
    schedules = {schedule.name: schedule for schedule in repository.schedule_defs}
    assert set(schedules) == CADENCE
    sensors = {sensor.name: sensor for sensor in repository.sensor_defs}
    assert {"files_landed", "coverage_degraded", "annotations_landed"} <= set(sensors)
    for schedule in schedules.values():
        assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    for sensor in sensors.values():
        assert sensor.default_status == dg.DefaultSensorStatus.STOPPED
