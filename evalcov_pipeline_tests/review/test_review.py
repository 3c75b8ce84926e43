"""The annotation page: what it shows, what it records, and whom it refuses."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import httpx2 as httpx
import orjson
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.testclient import TestClient

from evalcov_pipeline.cli import jobs, main
from evalcov_pipeline.defs.support import events
from evalcov_pipeline.review.app import MOST_BYTES, make_app
from evalcov_pipeline.review.desk import LEASE
from evalcov_pipeline.services.home import warehouse_of
from evalcov_pipeline.services.labels.queue import record_labels
from evalcov_pipeline.settings import Settings, get_settings
from evalcov_pipeline.storage.published import reading
from evalcov_pipeline.storage.warehouse import frame, one_row
from evalcov_pipeline_tests import chromium

PORT = 8765
HOME = f"http://127.0.0.1:{PORT}"
BLIND, PLAIN, SUGGESTED, TWO_RATERS = "task-4", "task-0", "task-5", "task-2"


class Clock:
    """A wall clock that stands still unless it is moved."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 20, 9)

    def __call__(self) -> datetime:
        self.time += timedelta(seconds=1)
        return self.time


class Browser:
    """Somebody at the page of a server."""

    def __init__(self, app: Starlette | httpx.Client, rater: str, route: str = "") -> None:
        self.client = TestClient(app, base_url=HOME) if isinstance(app, Starlette) else app
        self.page = self.client.get("/start").text
        self.send("start", rater=rater, route=route)

    def send(self, action: str, **fields: Any) -> int:
        """Press a button of the page on the screen; the status of the answer."""
        form = {"token": self._hidden("token"), "task_id": self.task, **fields}
        response = self.client.post(f"/{action}", data=form)
        self.page = response.text
        return response.status_code

    def look(self, path: str = "/") -> str:
        response = self.client.get(path)
        assert response.status_code == 200
        self.page = response.text
        return self.page

    def until(self, task: str) -> Browser:
        """Skip to a case."""
        while self.task != task:
            assert self.task, f"{task} never came"
            self.send("skip")
        return self

    @property
    def task(self) -> str:
        return self._hidden("task_id")

    @property
    def words(self) -> str:
        """The page as text."""
        return unescape(" ".join(re.sub(r"<[^>]*>", " ", self.page).split()))

    def _hidden(self, name: str) -> str:
        found = re.search(rf'name="{name}" value="([^"]*)"', self.page)
        return found.group(1) if found else ""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def app(queued_home: Settings, clock: Clock) -> Starlette:
    return make_app(queued_home, port=PORT, rater="system", clock=clock)


def rows(settings: Settings, query: str, parameters: list[Any] | None = None) -> Any:
    with warehouse_of(settings).reader() as con:
        return frame(con, query, parameters).to_dicts()


def labels(settings: Settings, task: str) -> list[dict[str, Any]]:
    return rows(settings, "SELECT * FROM annotations WHERE task_id = ? ORDER BY first_at", [task])


def status(settings: Settings, task: str) -> str:
    (found,) = rows(settings, "SELECT status FROM annotation_queue WHERE task_id = ?", [task])
    return found["status"]


def change(settings: Settings, task: str, **fields: Any) -> None:
    assignments = ", ".join(f"{name} = ?" for name in fields)
    with warehouse_of(settings).writer() as con:
        con.execute(
            f"UPDATE annotation_queue SET {assignments} WHERE task_id = ?",
            [*fields.values(), task],
        )


def say(
    settings: Settings, task: str, rater: str, at: datetime, via: str = "jsonl", **fields: Any
) -> None:
    """A label that comes by another way."""
    label = {"task_id": task, "rater": rater, "keep": True, "at": at, **fields}
    with warehouse_of(settings).writer() as con:
        record_labels(con, [label], via=via, recorded_at=at, redact_all=list)


def test_a_label_is_recorded_as_given_and_the_next_case_comes(
    queued_home: Settings, app: Starlette
) -> None:
    ann = Browser(app, "ann").until(PLAIN)
    assert ann.send(
        "save", keep="keep", passed="fail", expected="Click\r\n“reset”.", category="accounts",
        note="mail bob@example.com",
    ) == 200  # fmt: skip
    assert ann.task not in ("", PLAIN)
    assert "Saved: kept. 1 of 6 decided, 5 left for you, 1 labelled by you." in ann.words
    (label,) = labels(queued_home, PLAIN)
    assert label | {"first_at": None, "at": None, "note": None} == {
        "task_id": PLAIN, "rater": "ann", "keep": True, "passed": False,
        "expected": "Click\n“reset”.", "category": "accounts", "note": None, "via": "review",
        "first_at": None, "at": None,
    }  # fmt: skip
    assert "bob@example.com" not in label["note"]
    assert status(queued_home, PLAIN) == "kept"


def test_the_page_shows_what_a_rater_needs(queued_home: Settings, app: Starlette) -> None:
    (cluster,) = rows(
        queued_home,
        "SELECT cluster_key, label, production_share, eval_cases FROM cluster_coverage"
        " WHERE cluster_id >= 0 ORDER BY as_of DESC, production_share DESC LIMIT 1",
    )
    change(
        queued_home, "task-1", cluster_key=cluster["cluster_key"], cluster_label=cluster["label"],
        category="parcels",
    )  # fmt: skip
    ann = Browser(app, "ann").until("task-1")
    (task,) = rows(queued_home, "SELECT * FROM annotation_queue WHERE task_id = 'task-1'")
    for text in (
        "Hello, I have a question.", "How can I help?", task["text"], "Here is how.",
        "Largest gap.", f"“{cluster['label']}”", f"{cluster['eval_cases']} case",
        "Left empty, it is “parcels”", "Nearest case of the suite, cosine",
    ):  # fmt: skip
        assert text in ann.words.replace("“ ", "“").replace(" ”", "”"), text
    assert f"{cluster['production_share']:.0%}" in ann.words or (
        f"{cluster['production_share']:.1%}" in ann.words
    )
    assert ann.page.count("<code>case-") == 5
    assert '<option value="printer driver error">' in ann.page


def test_a_query_without_a_vector_is_shown_without_neighbours(
    queued_home: Settings, app: Starlette
) -> None:
    change(queued_home, PLAIN, text_hash="f" * 32)
    ann = Browser(app, "ann").until(PLAIN)
    assert "are not known: this query has no vector yet" in ann.words


def test_an_undecided_form_comes_back_with_what_was_typed(
    queued_home: Settings, app: Starlette
) -> None:
    ann = Browser(app, "ann")
    task = ann.task
    assert ann.send("save", expected="typed text", passed="pass") == 422
    assert ann.task == task
    assert "Choose keep or reject." in ann.words
    assert "typed text</textarea>" in ann.page
    assert re.search(r'value="pass"[^>]* checked', ann.page)
    assert ann.send("save", keep="keep", category="x" * 201) == 422
    assert not labels(queued_home, task)


def test_undo_takes_the_labels_of_this_browser_back_one_by_one(
    queued_home: Settings, app: Starlette
) -> None:
    ann = Browser(app, "ann")
    first = ann.task
    ann.send("save", keep="keep", expected="as I said")
    second = ann.task
    ann.send("save", keep="reject")
    ann.send("undo", expected="half a thought")
    assert (ann.task, labels(queued_home, second)) == (second, [])
    assert status(queued_home, second) == "open"
    ann.send("undo")
    assert (ann.task, labels(queued_home, first)) == (first, [])
    assert "as I said</textarea>" in ann.page
    ann.send("undo")
    assert "There is no label to take back." in ann.words
    ann.send("save", keep="keep", expected="as I say now")
    events = rows(queued_home, "SELECT withdrawn FROM annotation_events ORDER BY event_id")
    assert [event["withdrawn"] for event in events] == [False, False, True, True, False]
    assert [label["expected"] for label in labels(queued_home, first)] == ["as I say now"]


def test_what_was_typed_about_a_skipped_case_waits_for_it(app: Starlette) -> None:
    ann = Browser(app, "ann")
    first = ann.task
    ann.send("skip", expected="half a thought")
    seen = {first}
    while ann.task:
        assert ann.task not in seen
        seen.add(ann.task)
        ann.send("skip")
    assert len(seen) == 6
    assert "Only skipped cases are left" in ann.words
    ann.send("next", again="yes")
    assert "half a thought</textarea>" in ann.until(first).page


def test_two_browsers_get_different_cases_until_a_lease_ends(app: Starlette, clock: Clock) -> None:
    ann, bob = Browser(app, "ann"), Browser(app, "bob")
    assert ann.task != bob.task
    left_alone = ann.task
    clock.time += LEASE
    bob.send("skip")
    assert bob.task == left_alone


def test_two_people_may_have_a_case_that_wants_two_labels(
    queued_home: Settings, app: Starlette
) -> None:
    ann, bob = Browser(app, "ann").until(TWO_RATERS), Browser(app, "bob").until(TWO_RATERS)
    cyd = Browser(app, "cyd")
    while cyd.task:
        assert cyd.task != TWO_RATERS
        cyd.send("skip")
    ann.send("save", keep="reject")
    assert "ann" not in bob.look()
    bob.send("save", keep="reject")
    assert status(queued_home, TWO_RATERS) == "rejected"


def test_the_slower_of_two_learns_who_decided_and_keeps_the_text(
    queued_home: Settings, app: Starlette, clock: Clock
) -> None:
    ann = Browser(app, "ann").until(PLAIN)
    elsewhere = make_app(queued_home, port=PORT, rater="system", clock=clock)
    bob = Browser(elsewhere, "bob").until(PLAIN)
    assert ann.send("save", keep="keep", expected="ann's answer") == 200
    assert bob.send("save", keep="reject", expected="bob's <b>answer</b>") == 409
    assert "This case was decided in the meantime." in bob.words
    assert re.search(r"ann just now|ann 1 minute ago", bob.words)
    assert "bob's <b>answer</b>" in bob.words
    assert [label["rater"] for label in labels(queued_home, PLAIN)] == ["ann"]
    assert bob.send("next") == 200
    assert bob.task not in ("", PLAIN)


def test_a_label_on_a_case_of_an_older_plan_is_kept_and_decides_nothing(
    queued_home: Settings, app: Starlette
) -> None:
    ann = Browser(app, "ann").until(PLAIN)
    change(queued_home, PLAIN, status="superseded")
    assert "A newer plan took the place of this one" in " ".join(ann.look().split())
    assert ann.send("save", keep="keep") == 200
    assert len(labels(queued_home, PLAIN)) == 1
    assert status(queued_home, PLAIN) == "superseded"


def test_the_word_of_a_person_counts_more_than_a_suggestion_that_became_a_label(
    queued_home: Settings, app: Starlette, clock: Clock
) -> None:
    ann = Browser(app, "ann").until(PLAIN)
    say(queued_home, PLAIN, "suggestion:near", clock(), via="suggestion")
    assert status(queued_home, PLAIN) == "kept"
    assert ann.send("save", keep="reject") == 200
    assert status(queued_home, PLAIN) == "rejected"


def test_a_form_sent_twice_counts_once(queued_home: Settings, app: Starlette) -> None:
    ann = Browser(app, "ann").until(PLAIN)
    page, form = ann.page, {"keep": "keep", "note": "call +49 170 1234567"}
    ann.send("save", **form)
    ann.page = page
    assert ann.send("save", **form) == 200
    ann.page = page
    assert ann.send("save", keep="reject") == 409
    assert "You labelled this case in the meantime." in ann.words
    assert len(rows(queued_home, "SELECT * FROM annotation_events")) == 1


def test_who_adjudicates_sees_both_labels_and_decides(
    queued_home: Settings, app: Starlette
) -> None:
    ann, bob = Browser(app, "ann"), Browser(app, "bob")
    ann.until(TWO_RATERS).send("save", keep="keep", passed="pass", expected="yes, like this")
    bob.until(TWO_RATERS).send("save", keep="reject", note="off topic")
    assert status(queued_home, TWO_RATERS) == "adjudicate"
    cyd = Browser(app, "cyd")
    assert cyd.task == TWO_RATERS, "disagreements come first"
    for text in ("They disagree", "ann", "yes, like this", "bob", "off topic"):
        assert text in cyd.words
    assert not re.search(r"type=\"radio\" name=\"keep\"[^>]* checked", cyd.page)
    assert "yes, like this</textarea>" in cyd.look("/?fill=1")
    cyd.send("save", keep="keep", passed="pass", expected="yes, like this", adjudicates="yes")
    assert status(queued_home, TWO_RATERS) == "kept"
    assert ann.send("next") == 200
    ann.send("undo")
    assert "Somebody labelled this case after you" in ann.words
    assert len(labels(queued_home, TWO_RATERS)) == 3


def test_a_label_given_before_a_disagreement_was_seen_does_not_adjudicate(
    queued_home: Settings, app: Starlette, clock: Clock
) -> None:
    cyd = Browser(app, "cyd").until(TWO_RATERS)
    say(queued_home, TWO_RATERS, "ann", clock(), keep=True)
    say(queued_home, TWO_RATERS, "bob", clock(), keep=False)
    assert cyd.send("save", keep="keep", expected="my own view") == 409
    assert "they disagree" in cyd.words
    cyd.send("next")
    assert cyd.task == TWO_RATERS
    assert "my own view</textarea>" in cyd.page
    assert cyd.send("save", keep="keep", adjudicates="yes") == 200
    assert status(queued_home, TWO_RATERS) == "kept"


def test_a_suggestion_is_marked_and_fills_nothing_before_it_is_taken(
    queued_home: Settings, app: Starlette
) -> None:
    near = {"task_id": "plan-0-1", "text": "where is it", "similarity": 0.9123}
    suggestion = {
        "keep": True, "passed": False, "category": "parcels", "by": "near", "confidence": 0.83,
        "neighbours": [near],
    }  # fmt: skip
    change(queued_home, SUGGESTED, suggestion=orjson.dumps(suggestion).decode())
    ann = Browser(app, "ann").until(SUGGESTED)
    assert "Suggestion not a label · by near · confidence 83%" in ann.words
    assert "keep, production failed" in ann.words
    assert "where is it (cosine 0.91)" in ann.words
    assert not re.search(r"name=\"keep\"[^>]* checked", ann.page)
    ann.look("/?fill=suggestion")
    assert re.search(r'value="keep"[^>]* checked', ann.page)
    assert re.search(r'name="category"[^>]*value="parcels"', ann.page)


def test_calibration_sways_nobody(queued_home: Settings, app: Starlette) -> None:
    suggestion = orjson.dumps({"keep": True, "expected": "swaying answer"}).decode()
    change(queued_home, BLIND, suggestion=suggestion, category="swaying category")
    ann = Browser(app, "ann").until(BLIND)
    for page in (ann.page, ann.look("/?fill=suggestion")):
        assert ann.task == BLIND
        assert not re.search("swaying|uggestion|Nearest| checked", page)
    ann.send("save", keep="keep", expected="first thought")
    ann.send("undo")
    assert "first thought" not in ann.page


def test_texts_with_markup_stay_texts(queued_home: Settings, app: Starlette) -> None:
    evil = "</textarea><script>alert(1)</script><img src=x onerror=alert(1)>\"'"
    said = {"role": evil, "content": evil, "tool_calls": [evil]}
    context = orjson.dumps([said]).decode()
    suggestion = orjson.dumps({"keep": True, "expected": evil, "by": evil, "neighbours": [evil]})
    change(
        queued_home, PLAIN, text=evil, answer=evil, context=context, reason=evil, category=evil,
        cluster_label=evil, route=evil, suggestion=suggestion.decode(),
    )  # fmt: skip
    ann = Browser(app, evil[:80]).until(PLAIN)
    ann.send("save", expected=evil, note=evil, category=evil[:200])
    pages = [ann.page, ann.look("/start"), ann.look("/?fill=suggestion")]
    ann.send("save", keep="keep", expected=evil)
    ann.until("task-1")
    pages += [ann.page]
    for page in pages:
        assert "<script>alert" not in page
        assert "<img" not in page
    assert evil in unescape(pages[0])


def test_the_page_tells_which_tools_were_called_before_the_query(
    queued_home: Settings, app: Starlette
) -> None:
    said = [
        {"role": "user", "content": "a table for two"},
        {"role": "assistant", "content": "", "tool_calls": ["search", "book"]},
        {"role": "tool", "content": "no such day", "failed": True},
    ]
    change(queued_home, PLAIN, context=orjson.dumps(said).decode())
    page = Browser(app, "ann").until(PLAIN).page
    assert re.findall(r'class="called"[^>]*>(.*?)</p>', page) == ["called: search, book", "failed"]


def test_only_the_own_pages_of_this_server_are_served(
    queued_home: Settings, app: Starlette
) -> None:
    ann = Browser(app, "ann")
    task, token = ann.task, ann._hidden("token")
    client = ann.client
    for host in ("evil.example", "127.0.0.1", "localhost:1", f"evil.example:{PORT}", ""):
        assert client.get("/", headers={"host": host}).status_code == 400, host
        assert client.get("/review.js", headers={"host": host}).status_code == 400, host
    assert client.get("/", headers={"host": f"localhost:{PORT}"}).status_code == 200
    form = {"task_id": task, "keep": "keep", "expected": "forged", "token": token}
    for site in ("cross-site", "same-site", "none"):
        forged = client.post("/save", data=form, headers={"sec-fetch-site": site})
        assert forged.status_code == 403, site
    for wrong in ({"token": ""}, {"token": "x"}, {"token": "ü"}):
        refused = client.post("/save", data=form | wrong)
        assert refused.status_code == 403
        assert "forged" in refused.text, "a person's text is not lost"
    for method in ("get", "put", "delete"):
        assert client.request(method, "/save", params=form).status_code == 405
    stranger = TestClient(app, base_url=HOME)
    assert stranger.post("/save", data=form).status_code == 403
    assert not labels(queued_home, task)
    cookie = TestClient(app, base_url=HOME, follow_redirects=False).post(
        "/start", data={"token": token, "rater": "eve"}
    )
    assert "httponly" in cookie.headers["set-cookie"].lower()
    assert "samesite=strict" in cookie.headers["set-cookie"].lower()


def test_every_answer_carries_the_policies(app: Starlette) -> None:
    client = TestClient(app, base_url=HOME)
    for path in ("/", "/start", "/review.js", "/nowhere"):
        headers = client.get(path).headers
        assert headers["content-security-policy"] == (
            "default-src 'none'; style-src 'self'; script-src 'self'; form-action 'self';"
            " frame-ancestors 'none'; base-uri 'none'"
        )
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
    page = client.get("/").text
    assert not re.search(r"style=|<style|<script>|\son\w+=", page)


def test_a_form_that_is_too_long_is_not_read(queued_home: Settings, app: Starlette) -> None:
    ann = Browser(app, "ann")
    task = ann.task
    assert ann.send("save", keep="keep", expected="x" * MOST_BYTES) == 413
    assert not labels(queued_home, task)


def test_a_name_and_a_known_queue_are_needed(app: Starlette) -> None:
    ann = Browser(app, "ann")
    for name in (" ", "suggestion", "suggestion:near", "x" * 81):
        ann.look("/start")
        assert ann.send("start", rater=name) == 422
    ann.look("/start")
    ann.send("start", rater=" ann  lee ", route="payments")
    assert ann.task == "task-3"
    assert "ann lee on payments" in ann.words
    ann.send("save", keep="reject")
    assert "Everything is decided" in ann.words
    assert "evalcov run weekly" in ann.words


def test_a_label_that_cannot_be_saved_is_shown_again(queued_home: Settings, app: Starlette) -> None:
    ann = Browser(app, "ann")
    intact = queued_home.warehouse.read_bytes()
    queued_home.warehouse.write_bytes(b"damaged")
    assert ann.send("save", keep="keep", expected="hours of work") == 503
    assert "nothing was recorded" in ann.words
    assert "hours of work" in ann.words
    queued_home.warehouse.write_bytes(intact)
    assert ann.look()
    assert ann.send("save", keep="keep", expected="hours of work") == 200


@pytest.mark.skipif(chromium.FOUND is None, reason="no Chromium is installed")
def test_a_person_labels_by_keyboard_in_a_real_browser(
    queued_home: Settings, tmp_path: Path
) -> None:
    def task() -> str:
        return browser.run("document.querySelector('[name=task_id]')?.value ?? ''")

    with serving(queued_home) as address, chromium.page(tmp_path / "profile") as browser:
        browser.open(address)
        browser.leave("Enter")
        first = task()
        browser.type("k", "f", "e", *"krpfs?ju", "Escape")
        browser.leave("s")
        second = task()
        assert second not in ("", first)
        browser.type("r")
        browser.leave("s")
        assert task() not in ("", first, second)
        browser.leave("u")
        assert task() == second
        (label,) = rows(queued_home, "SELECT * FROM annotations")
        assert (label["task_id"], label["keep"], label["passed"]) == (first, True, False)
        assert label["expected"] == "krpfs?ju", "no shortcut works while somebody types"

        at = datetime(2026, 11, 20, 9)
        say(queued_home, TWO_RATERS, "ann", at, keep=False)
        say(queued_home, TWO_RATERS, "bob", at + timedelta(seconds=1), category="parcels")
        browser.leave("j")
        assert task() == TWO_RATERS
        browser.leave("2")
        browser.leave("s")
        assert status(queued_home, TWO_RATERS) == "kept"
        browser.type("?")
        assert browser.run("document.getElementById('help').open")
        assert browser.trouble == []


@contextmanager
def serving(settings: Settings) -> Iterator[str]:
    """A server of the page in a thread of this process; its address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        app = make_app(settings, port=port, rater="system")
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def evalcov_review(settings: Settings, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own."""
    with subprocess.Popen(
        [sys.executable, "-m", "evalcov_pipeline", "review", "--no-browser", *arguments],
        env=os.environ
        | {"EVALCOV_HOME": str(settings.home), "EVALCOV_EMBEDDING__MODEL": "hashing"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_when_it_is_stopped_the_kept_case_joins_the_suite(queued_home: Settings) -> None:
    with evalcov_review(queued_home, "--port", "0", "--route", "payments") as process:
        assert process.stdout is not None
        found = re.fullmatch(r"to label: 1, at (\S+)  .*\n", process.stdout.readline())
        assert found is not None
        address = found.group(1)
        with httpx.Client(base_url=address, follow_redirects=True) as client:
            Browser(client, "ann").until("task-3").send(
                "save", keep="keep", expected="Pay by card."
            )
        port = address.rpartition(":")[2]
        with evalcov_review(queued_home, "--port", port) as second:
            _, complaint = second.communicate(timeout=60)
        assert second.returncode == 3
        assert f"port {port} is in use (--port): name another one" in complaint
        process.send_signal(signal.SIGINT)
        said, complaints = process.communicate(timeout=60)
    assert (process.returncode, complaints) == (0, "")
    assert (
        "labels given: 1, taken back: 0\ncases added: 1, changed: 0, retired: 0; still waiting: 5"
        in said
    )
    assert "evalcov run weekly" in said
    with reading(queued_home.published) as con:
        case = one_row(con, "SELECT * FROM eval_cases WHERE case_id = 'prod-task-3'")
    assert case is not None
    assert (case["expected"], case["raters"]) == ("Pay by card.", ["ann"])
    with jobs.instance(queued_home) as instance:
        (event,) = events.materialized(instance, [events.LABELS], after=0)
    assert event.facts == {events.TASKS_DECIDED: 1, events.TASKS_WAITING: 4}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 0, "nothing waits for a label; `evalcov refresh` draws queries"),
        (["--route", "nowhere"], 3, "no case was ever queued for 'nowhere'"),
    ],
)
def test_without_a_case_to_label_the_command_says_what_to_do(
    arguments: list[str], code: int, said: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("EVALCOV_HOME", str(tmp_path))
    get_settings.cache_clear()
    with pytest.raises(SystemExit) as stopped:
        main(["review", *arguments])
    get_settings.cache_clear()
    output = capsys.readouterr()
    assert stopped.value.code == code
    assert said in output.out + output.err
