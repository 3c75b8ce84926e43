"""News by webhook: once per event, never lost to an outage, never holding anything up."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pydantic import SecretStr, ValidationError

from evalcov_pipeline.alerts import Webhook
from evalcov_pipeline.definitions import build_definitions, defs
from evalcov_pipeline.defs.automation.alerts import MAX_DELIVERIES, News, coverage_alerts
from evalcov_pipeline.defs.support.partitions import now
from evalcov_pipeline.settings import AlertSettings, Settings

SECRET = "T000-B000-secret"


class Channel:
    """A local stand-in for a chat's webhook, and what it was told."""

    def __init__(self) -> None:
        self.answers = "200"
        self.asked = 0
        self.told: list[str] = []
        self.done = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}/services/{SECRET}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,)).start()

    def close(self) -> None:
        self.done.set()
        self.server.shutdown()
        self.server.server_close()

    def _handler(channel) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                channel.asked += 1
                answers = channel.answers
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if answers == "hang":
                    channel.done.wait(30)
                elif answers == "drip":
                    for letter in b"HTTP/1.1 200 OK":
                        self.wfile.write(bytes([letter]))
                        if channel.done.wait(0.1):
                            return
                elif answers == "drop":
                    self.connection.close()
                else:
                    if answers == "200":
                        assert list(body) == ["text"]
                        channel.told.append(body["text"])
                    self.send_response(int(answers))
                    if answers.startswith("3"):
                        self.send_header("Location", channel.url + "/elsewhere")
                    self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler


@pytest.fixture
def channel() -> Iterator[Channel]:
    channel = Channel()
    yield channel
    channel.close()


class Sensor:
    """The sensor of alerts with its cursor, as the daemon would tick it."""

    def __init__(self, instance: dg.DagsterInstance, url: str) -> None:
        self.instance = instance
        self.webhook = Webhook(url, timeout_s=2)
        self.settings = Settings()
        self.cursor: str | None = None
        self.said = ""

    def tick(self) -> None:
        context = dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursor,
            resources={"settings": self.settings, "alerts": self.webhook},
        )
        data = coverage_alerts.evaluate_tick(context)
        self.cursor, self.said = data.cursor, data.skip_message or ""

    def later(self, wait: timedelta) -> None:
        """So much time passes: what is remembered becomes so much older."""
        news = News.model_validate_json(self.cursor or "{}")
        for message in news.outbox:
            message.not_before -= wait
        if news.written_at:
            news.written_at -= wait
        self.cursor = news.model_dump_json()

    def score(
        self, day: int, *, degraded: bool, jsd_adjusted: float, table: str = "coverage_scores"
    ) -> None:
        self.instance.report_runless_asset_event(
            dg.AssetMaterialization(
                table,
                metadata={
                    "as_of": datetime(2026, 10, day).isoformat(),
                    "taxonomy": "20261005-abc",
                    "degraded": degraded,
                    "jsd_adjusted": jsd_adjusted,
                    "covered_share": 0.62,
                    "verdict": "Untested: 'my name is Ada Lovelace'",
                },
            )
        )


@pytest.fixture
def sensor(channel: Channel) -> Iterator[Sensor]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Sensor(instance, channel.url)


def test_a_degradation_and_a_recovery_are_told_once_each(channel: Channel, sensor: Sensor) -> None:
    sensor.score(5, degraded=False, jsd_adjusted=0.1)
    sensor.tick()
    assert channel.told == []
    for day in (12, 19):
        sensor.score(day, degraded=True, jsd_adjusted=0.41)
        sensor.tick()
    assert channel.told == [
        "The eval suite no longer covers production, week to 2026-10-12: its divergence is 0.41"
        " (threshold 0.25); 62% of production is in clusters with cases."
    ]
    sensor.score(26, degraded=False, jsd_adjusted=0.24)
    sensor.tick()
    assert len(channel.told) == 1
    sensor.score(27, degraded=False, jsd_adjusted=0.12)
    sensor.tick()
    sensor.tick()
    assert channel.told[1:] == [
        "The eval suite covers production again, week to 2026-10-27: its divergence is 0.12"
        " (threshold 0.25); 62% of production is in clusters with cases."
    ]


def test_a_liability_is_told_as_one(channel: Channel, sensor: Sensor) -> None:
    sensor.score(5, degraded=True, jsd_adjusted=0.08)
    sensor.tick()
    assert "a cluster with at least 15% of the traffic has no case" in channel.told[0]


def test_sessions_degrade_and_recover_apart_from_queries(channel: Channel, sensor: Sensor) -> None:
    sensor.score(5, degraded=False, jsd_adjusted=0.1)
    sensor.score(5, degraded=True, jsd_adjusted=0.4, table="session_scores")
    sensor.tick()
    sensor.score(12, degraded=False, jsd_adjusted=0.1)
    sensor.score(12, degraded=False, jsd_adjusted=0.1, table="session_scores")
    sensor.tick()
    assert channel.told == [
        "The eval suite no longer covers production's sessions, week to 2026-10-05: its divergence"
        " is 0.40 (threshold 0.25); 62% of sessions are in clusters with cases.",
        "The eval suite covers production's sessions again, week to 2026-10-12: its divergence is"
        " 0.10 (threshold 0.25); 62% of sessions are in clusters with cases.",
    ]


def test_messages_hold_nothing_that_users_wrote(channel: Channel, sensor: Sensor) -> None:
    sensor.score(5, degraded=True, jsd_adjusted=0.4)
    sensor.tick()
    assert "Ada" not in channel.told[0]


def test_a_score_that_nobody_renews_is_told_once_per_score(
    channel: Channel, sensor: Sensor
) -> None:
    sensor.score(5, degraded=False, jsd_adjusted=0.1)
    sensor.tick()
    sensor.later(timedelta(days=8))
    sensor.tick()
    assert channel.told == []
    for _ in range(2):
        sensor.later(timedelta(days=2))
        sensor.tick()
    assert len(channel.told) == 1
    assert f"none was written since {now() - timedelta(days=10):%Y-%m-%d}" in channel.told[0]
    sensor.score(12, degraded=False, jsd_adjusted=0.1)
    sensor.tick()
    sensor.later(timedelta(days=10))
    sensor.tick()
    assert len(channel.told) == 2


def test_a_job_that_failed_for_the_last_time_is_told_once(channel: Channel, sensor: Sensor) -> None:
    for number in ("1", "2", "3"):
        sensor.instance.create_run_for_job(
            defs.resolve_job_def("refresh"),
            tags={"evalcov/try": number},
            status=dg.DagsterRunStatus.FAILURE,
        )
        sensor.tick()
    sensor.tick()
    (text,) = channel.told
    assert text.startswith("The job refresh failed 3 times")


@pytest.mark.parametrize("answers", ["500", "404", "302", "hang", "drip", "drop"])
def test_what_is_not_taken_is_sent_later_and_holds_a_tick_for_seconds_at_most(
    channel: Channel, sensor: Sensor, answers: str
) -> None:
    sensor.webhook = Webhook(channel.url, timeout_s=0.3)
    channel.answers = answers
    sensor.score(5, degraded=True, jsd_adjusted=0.4)
    began = time.perf_counter()
    sensor.tick()
    assert time.perf_counter() - began < 2
    assert channel.asked == 1
    assert "not taken" in sensor.said
    channel.answers = "200"
    sensor.tick()
    assert channel.asked == 1
    sensor.later(timedelta(minutes=3))
    sensor.tick()
    sensor.tick()
    assert len(channel.told) == 1


def test_an_outage_delays_messages_and_keeps_their_order(channel: Channel, sensor: Sensor) -> None:
    channel.answers = "503"
    sensor.score(5, degraded=True, jsd_adjusted=0.4)
    sensor.tick()
    sensor.score(12, degraded=False, jsd_adjusted=0.1)
    sensor.later(timedelta(minutes=3))
    sensor.tick()
    assert channel.asked == 2
    channel.answers = "200"
    sensor.later(timedelta(minutes=5))
    sensor.tick()
    assert ["no longer" in text for text in channel.told] == [True, False]


def test_a_message_is_offered_a_limited_number_of_times(channel: Channel, sensor: Sensor) -> None:
    channel.answers = "500"
    sensor.score(5, degraded=True, jsd_adjusted=0.4)
    waited = timedelta(0)
    while channel.asked < MAX_DELIVERIES:
        sensor.tick()
        sensor.later(timedelta(hours=1))
        waited += timedelta(hours=1)
        assert waited < timedelta(days=2)
    sensor.later(timedelta(days=5))
    sensor.tick()
    assert channel.asked == MAX_DELIVERIES


def test_nobody_listening_is_no_failure() -> None:
    webhook = Webhook(f"http://127.0.0.1:9/{SECRET}", timeout_s=2)
    assert webhook.post("hello") == "NewConnectionError"


def test_without_a_webhook_nothing_is_sent_and_nothing_is_forgotten(
    channel: Channel, sensor: Sensor
) -> None:
    there = sensor.webhook
    sensor.webhook = Webhook(None, timeout_s=2)
    sensor.score(5, degraded=True, jsd_adjusted=0.4)
    sensor.tick()
    assert "EVALCOV_ALERTS__WEBHOOK" in sensor.said
    sensor.webhook = there
    sensor.tick()
    assert len(channel.told) == 1


@pytest.mark.parametrize("answers", ["200", "500", "302", "drop"])
def test_the_address_is_shown_nowhere(
    channel: Channel, sensor: Sensor, caplog: pytest.LogCaptureFixture, answers: str
) -> None:
    channel.answers = answers
    settings = Settings(alerts=AlertSettings(webhook=SecretStr(channel.url)))
    sensor.webhook = Webhook.of(settings.alerts)
    sensor.score(5, degraded=True, jsd_adjusted=0.4)
    with caplog.at_level(logging.DEBUG):
        sensor.tick()
    assert channel.asked == 1
    shown = [repr(settings), repr(sensor.webhook), sensor.said, sensor.cursor, caplog.text]
    assert not any(SECRET in str(text) for text in shown)


def test_the_definitions_send_to_the_webhook_of_the_settings(
    channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVALCOV_ALERTS__WEBHOOK", channel.url)
    webhook = (build_definitions(Settings()).resources or {})["alerts"]
    assert webhook.post("hello") is None
    assert channel.told == ["hello"]


@pytest.mark.parametrize("address", [SECRET, f"ftp://{SECRET}", f"https://[{SECRET}", "https://"])
def test_a_wrong_address_is_refused_and_not_shown(address: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="http:// or https://") as raised:
        Settings(home=tmp_path, alerts={"webhook": address})
    assert SECRET not in str(raised.value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "EVALCOV_ALERTS__WEBHOOK", address)
        with pytest.raises(ValidationError) as raised:
            Settings(home=tmp_path)
    assert SECRET not in str(raised.value)
