"""The web application: what may be asked of it, and what it answers.

GET shows, POST acts and then sends the browser to what to show next. Every label is recorded in a
transaction of its own, so that whatever ends the server leaves all that was saved.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from typing import Any
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.review import pages
from evalcov_pipeline.review.desk import Desk, Seat
from evalcov_pipeline.review.forms import rating_typed
from evalcov_pipeline.review.guard import Guard
from evalcov_pipeline.services.home import warehouse_of
from evalcov_pipeline.services.labels.queue import SUGGESTED, read_task
from evalcov_pipeline.services.labels.rating import Conflict, Rating, labels_on, record, take_back
from evalcov_pipeline.services.labels.view import (
    Neighbourhood,
    read_progress,
    tasks_to_show,
    view_task,
)
from evalcov_pipeline.services.traffic.texts import redactor
from evalcov_pipeline.settings import Settings

MOST_BYTES = 256 * 1024
"""Longest form that is read."""
_LONGEST_NAME = 80
_STATIC = {
    "report.css": ("evalcov_pipeline.reports", "text/css"),
    "review.css": ("evalcov_pipeline.review.static", "text/css"),
    "review.js": ("evalcov_pipeline.review.static", "text/javascript"),
}


def make_app(
    settings: Settings,
    *,
    port: int,
    rater: str,
    route: str | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC).replace(tzinfo=None),
) -> Starlette:
    """The annotation page.

    Args:
        settings: of the pipeline.
        port: that the server listens on, since requests for another one are refused.
        rater: name that is offered to who sits down.
        route: queue that is offered; None for all.
        clock: now, naive UTC.
    """
    site = Site(settings, port, rater, route, clock)
    return Starlette(
        routes=[
            Route("/", site.show),
            Route("/start", site.show_start),
            *(Route(f"/{name}", _static(name)) for name in _STATIC),
            *(
                Route(f"/{action.__name__}", site.post(action), methods=["POST"])
                for action in (site.start, site.save, site.skip, site.undo, site.next)
            ),
        ],
        middleware=[Middleware(Guard, port=port)],
        exception_handlers={BadInput: site.trouble, OSError: site.trouble},
        max_body_size=MOST_BYTES,
    )


@dataclass
class Submission:
    """An action that somebody asks for.

    Attributes:
        form: what was sent.
        seat: of the browser that sent it; None before it took one.
        name: under which the seat is found.
    """

    form: Mapping[str, str]
    seat: Seat | None
    name: str | None

    @property
    def rating(self) -> Rating:
        """What was typed about a task."""
        return rating_typed(self.form)

    @property
    def task_id(self) -> str:
        """The task that it was typed about."""
        return self.form.get("task_id", "")


class Site:
    """Pages and actions; see `make_app`."""

    def __init__(
        self,
        settings: Settings,
        port: int,
        rater: str,
        route: str | None,
        clock: Callable[[], datetime],
    ) -> None:
        """Open no file yet."""
        self._warehouse = warehouse_of(settings)
        self._redact_all = redactor(settings.redaction)
        self._neighbourhood = Neighbourhood(settings)
        self._desk = Desk()
        self._offered = Seat(rater, route)
        self._now = clock
        self._token = secrets.token_urlsafe(32)
        self._cookie = f"evalcov_review_{port}"
        self._pages = pages.environment(token=self._token, now=clock)

    # What is shown

    def show(self, request: Request) -> Response:
        """The task on the screen, or what comes after the last one."""
        seat = self._desk.seat(request.cookies.get(self._cookie))
        if seat is None:
            return self.show_start(request)
        return self._page(seat, fill=request.query_params.get("fill", ""))

    def show_start(self, request: Request) -> Response:
        """Who labels, and what there is to label."""
        seat = self._desk.seat(request.cookies.get(self._cookie))
        return self._start_page(seat or self._offered, seated=seat is not None)

    def _start_page(self, seat: Seat, seated: bool = False, problem: str | None = None) -> Response:
        with self._warehouse.reader() as con:
            routes = read_progress(con, seat.rater)
        status = 422 if problem else 200
        return self._render("start", status, seat=seat, seated=seated, routes=routes, why=problem)

    def _page(
        self,
        seat: Seat,
        *,
        fill: str = "",
        typed: Rating | None = None,
        problem: str | None = None,
    ) -> Response:
        """The task on the screen of a seat, filled with what was typed or taken over."""
        with self._warehouse.reader() as con:
            progress = pages.progress(read_progress(con, seat.rater), seat.route)
            view = view_task(con, seat.task_id, self._neighbourhood) if seat.task_id else None
            labels = labels_on(con, seat.task_id) if seat.task_id else []
        if view is None:
            return self._render("end", 200, seat=seat, progress=progress)
        task_id, status = view.task.task_id, view.task.status
        draft = seat.drafts.get(task_id, Rating())
        if labels and status in ("kept", "rejected") and not view.begun:
            reason = "This case was decided in the meantime."
            return self._render(
                "conflict", 200, seat=seat, reason=reason, labels=labels, rating=draft
            )
        filled = typed or pages.fill(view, fill) or (draft.is_blank and view.begun) or draft
        return self._render(
            "task", 422 if problem else 200, seat=seat, progress=progress, view=view,
            filled=filled, why=problem,
        )  # fmt: skip

    def _render(self, name: str, status: int = 200, **values: Any) -> HTMLResponse:
        return HTMLResponse(self._pages.get_template(f"{name}.html.j2").render(values), status)

    # What is done

    def post(self, action: Callable[[Submission], Response | None]) -> Callable[[Request], Any]:
        """An endpoint that does one action at a time, for forms of this server alone."""

        async def endpoint(request: Request) -> Response:
            form = dict(parse_qsl((await request.body()).decode(errors="replace")))
            name = request.cookies.get(self._cookie)
            sent = Submission(form, self._desk.seat(name), name)
            request.state.sent = sent
            return await run_in_threadpool(self._act, action, sent)

        return endpoint

    def _act(self, action: Callable[[Submission], Response | None], sent: Submission) -> Response:
        token = sent.form.get("token", "").encode()
        known = secrets.compare_digest(token, self._token.encode())
        if not known or (sent.seat is None and action != self.start):
            return self._render("stranger", 403, rating=sent.rating)
        with self._desk.acting:
            return action(sent) or RedirectResponse("/", 303)

    def start(self, sent: Submission) -> Response | None:
        """Take a seat, or change the name or the queue."""
        rater = " ".join(sent.form.get("rater", "").split())
        seat = Seat(rater, sent.form.get("route") or None)
        if not rater or len(rater) > _LONGEST_NAME or rater.split(":")[0] == SUGGESTED:
            problem = f"A name has 1 to {_LONGEST_NAME} characters and is not “{SUGGESTED}”."
            return self._start_page(seat, problem=problem)
        self._desk.leave(sent.name)
        name = self._desk.sit(seat)
        self._give_next(seat)
        response = RedirectResponse("/", 303)
        response.set_cookie(self._cookie, name, httponly=True, samesite="strict")
        return response

    def save(self, sent: Submission) -> Response | None:
        """Record a label and go on."""
        seat, rating, task_id = _seat(sent), sent.rating, sent.task_id
        with self._warehouse.reader() as con:
            task = read_task(con, task_id)
        if problem := rating.problem or (task and rating.gap(task)):
            if task_id == seat.task_id:
                return self._page(seat, typed=rating, problem=problem)
            return self._conflict(seat, problem, task_id, rating)
        try:
            with self._warehouse.writer() as con:
                record(
                    con, task_id, seat.rater, rating, at=self._now(), redact_all=self._redact_all,
                    adjudicates=sent.form.get("adjudicates") == "yes",
                )  # fmt: skip
                done = [*seat.labelled, task_id]
                waiting = tasks_to_show(con, seat.rater, seat.route, done)
        except Conflict as conflict:
            return self._conflict(seat, str(conflict), task_id, rating)
        if task_id not in seat.labelled:
            seat.labelled.append(task_id)
        seat.drafts.pop(task_id, None)
        seat.notice = f"Saved: {'kept' if rating.keep else 'rejected'}."
        self._desk.give_next(seat, waiting, self._now())
        return None

    def skip(self, sent: Submission) -> None:
        """Put a task off; what was typed is kept for later."""
        seat = _seat(sent)
        self._keep_draft(sent)
        seat.skipped.add(sent.task_id)
        seat.notice = "Skipped."
        self._give_next(seat)

    def undo(self, sent: Submission) -> Response | None:
        """Take the last label back and show its task again."""
        seat = _seat(sent)
        self._keep_draft(sent)
        if not seat.labelled:
            seat.notice = "There is no label to take back."
            return None
        task_id = seat.labelled[-1]
        try:
            with self._warehouse.writer() as con:
                seat.drafts[task_id] = take_back(
                    con, task_id, seat.rater, at=self._now(), redact_all=self._redact_all
                )
        except Conflict as conflict:
            seat.labelled.pop()
            return self._conflict(seat, str(conflict), task_id, Rating())
        seat.labelled.pop()
        seat.notice = "Your last label was taken back."
        self._desk.give(seat, task_id, self._now())
        return None

    def next(self, sent: Submission) -> None:
        """Go on; with `again`, through what was skipped too."""
        seat = _seat(sent)
        seat.notice = ""
        if sent.form.get("again"):
            seat.skipped.clear()
        self._give_next(seat)

    def _give_next(self, seat: Seat) -> None:
        with self._warehouse.reader() as con:
            waiting = tasks_to_show(con, seat.rater, seat.route, seat.labelled)
        self._desk.give_next(seat, waiting, self._now())

    def _keep_draft(self, sent: Submission) -> None:
        if not sent.rating.is_blank:
            _seat(sent).drafts[sent.task_id] = sent.rating

    # What stands in the way

    def _conflict(self, seat: Seat, reason: str, task_id: str, rating: Rating) -> Response:
        """Who was faster, and what was typed in vain; an adjudicator finds it in the form."""
        seat.notice = ""
        if not rating.is_blank:
            seat.drafts[task_id] = rating
        with self._warehouse.reader() as con:
            labels = labels_on(con, task_id)
        return self._render("conflict", 409, seat=seat, reason=reason, labels=labels, rating=rating)

    def trouble(self, request: Request, error: Exception) -> Response:
        """What is wrong with the warehouse; nothing was recorded."""
        sent = getattr(request.state, "sent", None)
        rating = sent.rating if sent else Rating()
        return self._render("trouble", 503, reason=str(error), rating=rating)


def _seat(sent: Submission) -> Seat:
    assert sent.seat is not None
    return sent.seat


def _static(name: str) -> Callable[[Request], Response]:
    package, media_type = _STATIC[name]
    content = resources.files(package).joinpath(name).read_bytes()
    return lambda request: Response(content, media_type=media_type)
