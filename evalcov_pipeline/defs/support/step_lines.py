"""The logger of the command line: a line when a step ends, and what steps themselves say."""

from __future__ import annotations

import logging

import click
import dagster as dg

NAME = "evalcov"


class _StepLines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        meta = getattr(record, "dagster_meta", {})
        event = meta.get("dagster_event")
        if event is None:
            if record.levelno >= logging.INFO:
                click.echo(f"  {meta.get('orig_message', record.getMessage())}", err=True)
        elif event.event_type == dg.DagsterEventType.STEP_SUCCESS:
            seconds = event.step_success_data.duration_ms / 1000
            click.echo(f"  {event.step_key:<16} {seconds:6.1f} s", err=True)
        elif event.event_type == dg.DagsterEventType.STEP_FAILURE:
            click.echo(f"  {event.step_key:<16} failed", err=True)


@dg.logger(config_schema={}, description="A line per step, for the command line.")
def step_lines(context: dg.InitLoggerContext) -> logging.Logger:
    """The logger that `evalcov run` asks for."""
    logger = logging.Logger(NAME, logging.DEBUG)
    logger.addHandler(_StepLines())
    return logger
