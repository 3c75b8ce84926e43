"""The `evalcov` command: a thin face over the jobs and functions of the pipeline.

Exit codes: 0 done; 1 the check said no; 2 a gate was inconclusive; 3 bad input or usage; 130
stopped by Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import importlib
import signal
import sys
import tomllib
from collections.abc import Sequence

import click
from pydantic import ValidationError
from pydantic_settings import SettingsError

from evalcov_pipeline import __version__
from evalcov_pipeline.errors import BadInput, CheckFailed

CHECK_FAILED = 1
BAD_INPUT = 3
STOPPED = 130
_STOPPED_LINE = "evalcov: stopped; start it again to go on"

_COMMANDS = {
    "demo": "Run the whole pipeline on the sample that comes with it.",
    "ingest": "Read files of traces, eval cases, eval results and labels.",
    "run": "Run a scheduled job now, in this process.",
    "status": "Show the latest score, the top gaps and what to do next.",
    "refresh": "Plan a refresh of the eval suite now.",
    "review": "Label queued queries in a browser.",
    "suggest": "Suggest labels for queued queries from labelled ones.",
    "export": "Write the eval suite, or the queue of queries to label, to a file.",
    "gate": "Judge a run of the CI suite: PASS 0, FAIL 1, INCONCLUSIVE 2.",
    "evals": "Show the history of a case, and the suite of any day.",
    "report": "Write the HTML report of the latest score.",
    "publish": "Copy the warehouse to published.duckdb for readers.",
    "doctor": "Check the environment and the data.",
    "ui": "Open Dagster's UI on http://127.0.0.1:3000.",
}


class _Commands(click.Group):
    """Subcommands that are imported when they are used, so that `--help` is instant."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"evalcov_pipeline.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Tell whether your LLM eval suite still tests what your users do.

    A first run:  evalcov ingest traces FILES;  evalcov ingest evals FILES;  evalcov run weekly

    Data lives in EVALCOV_HOME (default: data/). Settings come from evalcov.toml and EVALCOV_*.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with the contract's codes."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(_code(arguments))
    finally:
        signal.signal(signal.SIGTERM, before)


def _code(arguments: Sequence[str] | None) -> int:
    """Run the command line; its exit code."""
    try:
        code = cli.main(args=arguments, prog_name="evalcov", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = BAD_INPUT
    except click.Abort:
        click.echo(_STOPPED_LINE, err=True)
        code = STOPPED
    except RuntimeError as error:
        if str(error) != "Query interrupted":  # what DuckDB makes of a KeyboardInterrupt
            raise
        click.echo(_STOPPED_LINE, err=True)
        code = STOPPED
    except CheckFailed as error:
        click.echo(f"evalcov: {error}", err=True)
        code = CHECK_FAILED
    except BadInput as error:
        click.echo(f"evalcov: {error}", err=True)
        code = BAD_INPUT
    except (SettingsError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        click.echo(
            f"evalcov: {error} (evalcov.toml or an EVALCOV_ environment variable): correct it; in"
            " the environment lists and sections are written as JSON, e.g. [0, 12]",
            err=True,
        )
        code = BAD_INPUT
    except OSError as error:
        click.echo(
            f"evalcov: {error.strerror or error} ({error.filename or 'home'}): check the path, its"
            " permissions and the free space",
            err=True,
        )
        code = BAD_INPUT
    except ValidationError as error:
        for problem in error.errors():
            setting = ".".join(str(part) for part in problem["loc"]) or "settings"
            click.echo(
                f"evalcov: {problem['msg'].removeprefix('Value error, ')} (setting {setting}):"
                " correct it in evalcov.toml or in the EVALCOV_ environment variable",
                err=True,
            )
        code = BAD_INPUT
    return code if isinstance(code, int) else 0
