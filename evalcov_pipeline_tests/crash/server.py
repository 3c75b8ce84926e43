"""Forks a child per command: a fork costs milliseconds, importing the libraries seconds.

Started with `changes.c` preloaded. It uses none of the libraries itself, so there are no worker
threads that a fork could lose. Questions and answers are lines of JSON.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import mmap
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Any

_LIBRARIES = (
    "alembic.command", "click", "dagster", "dagster_duckdb", "duckdb", "jinja2", "phonenumbers",
    "polars", "pyarrow.dataset", "pyarrow.parquet", "pydantic_settings", "scipy.optimize",
    "scipy.stats", "sklearn.cluster", "sqlalchemy.dialects.sqlite", "structlog", "tqdm", "upath",
    "urllib3", "watchdog.observers",
)  # fmt: skip
_LONGEST_S = 600


class _Report(ctypes.Structure):
    _fields_ = (("changes", ctypes.c_long), ("last", ctypes.c_char * 504))


def _serve(library: str) -> None:
    arm = ctypes.CDLL(library).arm
    for name in _LIBRARIES:
        importlib.import_module(name)
    running: dict[int, tuple[_Report, int]] = {}
    for line in sys.stdin:
        question = json.loads(line)
        answer: object
        if isinstance(question, int):
            answer = _ended(question, *running.pop(question))
        else:
            home, arguments, *fault = question
            report = _Report.from_buffer(mmap.mmap(-1, ctypes.sizeof(_Report)))
            said = os.memfd_create("said")
            answer = os.fork()
            if answer == 0:
                os.dup2(said, 1)
                os.dup2(said, 2)
                _arm(arm, report, *fault)
                _run(home, arguments)
            running[answer] = report, said
        print(json.dumps(answer), flush=True)


def _arm(
    arm: Any, report: _Report, counted: str, ignored: str, at: int, fault: int, offset_s: int
) -> None:
    arm.argtypes = (
        [ctypes.c_char_p] * 2 + [ctypes.c_long, ctypes.c_int, ctypes.c_long] + [ctypes.c_void_p]
    )
    arm(counted.encode(), ignored.encode(), at, fault, offset_s, ctypes.addressof(report))


def _ended(pid: int, report: _Report, said: int) -> list[object]:
    _, status = os.waitpid(pid, 0)
    with os.fdopen(said, "rb") as file:
        file.seek(0)
        text = file.read().decode(errors="replace")
    code = os.waitstatus_to_exitcode(status)
    return [code, report.changes, report.last.decode(errors="replace"), text]


def _run(home: str, arguments: Sequence[str]) -> None:
    signal.alarm(_LONGEST_S)
    os.environ["EVALCOV_HOME"] = home
    code = 99
    try:
        importlib.import_module("evalcov_pipeline.cli").main(arguments)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve(sys.argv[1])
