"""What the command line answers with one line instead of a traceback."""

from __future__ import annotations


class CheckFailed(Exception):
    """A check on the data said no; the CLI prints it as one line and exits with code 1."""


class BadInput(Exception):
    """Something the user can mend; the CLI prints it as one line and exits with code 3.

    Args:
        what: what is wrong.
        where: file, line, setting or table that it is about.
        what_to_do: how to mend it.
    """

    def __init__(self, what: str, where: str, what_to_do: str) -> None:
        super().__init__(one_line(f"{what} ({where}): {what_to_do}"))
        self.what = what
        self.where = where
        self.what_to_do = what_to_do


def one_line(text: str) -> str:
    """A message that holds what files hold, without what moves a terminal's cursor."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
