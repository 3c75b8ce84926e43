"""`evalcov review`: label queued queries in a browser."""

from __future__ import annotations

import errno
import getpass
import socket
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import click

from evalcov_pipeline.cli.progress import say
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.services.home import warehouse_of
from evalcov_pipeline.services.labels.arrival import newest_label, reviewed_since
from evalcov_pipeline.services.labels.merging import unanswered_tasks
from evalcov_pipeline.services.labels.queue import WAITING, progress
from evalcov_pipeline.settings import Settings, get_settings

_HOST = "127.0.0.1"


@click.command("review")
@click.option("--rater", help="Your name, changeable on the page [default: the system's].")
@click.option("--route", help="Only this queue [default: all].")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True)
@click.option("--no-browser", is_flag=True, help="Only print the address.")
def command(rater: str | None, route: str | None, port: int, no_browser: bool) -> None:
    """Decide in a browser which queued queries become eval cases.

    The page is served to this machine alone. Every label is saved at once; when the page is
    stopped with Ctrl-C, what people kept joins the suite.
    """
    settings = get_settings()
    waiting = _waiting(settings, route)
    if not waiting:
        click.echo("nothing waits for a label; `evalcov refresh` draws queries to label")
        return
    before = newest_label(settings)
    with _listening(port) as listener:
        address = f"http://{_HOST}:{listener.getsockname()[1]}"
        click.echo(f"to label: {waiting}, at {address}  (Ctrl-C when you are done)")
        if not no_browser:
            webbrowser.open(address)
        _serve(settings, listener, rater or _system_user(), route)
    _finish(settings, before)


def _waiting(settings: Settings, route: str | None) -> int:
    """How many tasks of a queue wait, kept failures without an expected answer included.

    Raises:
        BadInput: no such queue.
    """
    with warehouse_of(settings).reader() as con:
        tasks = progress(con)
        unanswered = len(unanswered_tasks(con, route))
    if route and route not in set(tasks["route"]):
        raise BadInput(
            what=f"no case was ever queued for {route!r}",
            where="--route",
            what_to_do=f"choose one of: {', '.join(sorted(set(tasks['route']))) or 'none yet'}",
        )
    counts = tasks.to_dicts()
    return unanswered + sum(
        row["tasks"] for row in counts if row["status"] in WAITING and route in (None, row["route"])
    )


@contextmanager
def _listening(port: int) -> Iterator[socket.socket]:
    """A socket that this machine alone can reach.

    Raises:
        BadInput: the port is in use or not allowed.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((_HOST, port))
            listener.listen()
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            raise BadInput(
                what=f"port {port} is in use"
                if error.errno == errno.EADDRINUSE
                else f"port {port} is not allowed",
                where="--port",
                what_to_do="name another one, e.g. --port 8766, or 0 for any that is free",
            ) from error
        yield listener


def _serve(settings: Settings, listener: socket.socket, rater: str, route: str | None) -> None:
    """Serve the page until Ctrl-C or SIGTERM."""
    import uvicorn

    from evalcov_pipeline.review.app import make_app

    app = make_app(settings, port=listener.getsockname()[1], rater=rater, route=route)
    config = uvicorn.Config(
        app, access_log=False, log_level="warning", lifespan="off", ws="none",
        proxy_headers=False, server_header=False, timeout_graceful_shutdown=10,
    )  # fmt: skip
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])


def _finish(settings: Settings, before: int) -> None:
    """Bring what was decided into the suite, and say what came and what to do next."""
    reviewed = reviewed_since(settings, before, datetime.now(UTC).replace(tzinfo=None))
    if (merged := reviewed.merged) is None:
        say("no label was given; the cases wait for the next `evalcov review`")
        return
    from evalcov_pipeline.cli import jobs

    jobs.announce_labels(settings, reviewed.decided, merged)
    click.echo(f"labels given: {reviewed.given}, taken back: {reviewed.taken_back}")
    click.echo(
        f"cases added: {merged.added}, changed: {merged.changed}, retired: {merged.retired};"
        f" still waiting: {merged.waiting}{merged.remarks}"
    )
    click.echo(
        "next: `evalcov run weekly` scores the suite with them"
        if merged.added or merged.changed or merged.retired
        else "next: `evalcov review` for the cases that wait"
    )


def _system_user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user id without a name, as in containers
        return "rater"
