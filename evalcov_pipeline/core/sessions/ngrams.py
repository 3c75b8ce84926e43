"""Sequences of steps and their n-grams, with a start and an end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evalcov_pipeline.core.sessions.space import END, START
from evalcov_pipeline.core.statistics.shares import IntArray

SEPARATOR = " > "
FIRST_SYMBOL = 2


def bracketed(
    sequences: Sequence[Sequence[str]], at_least: int = 2
) -> tuple[IntArray, IntArray, list[str]]:
    """All sequences in one row, each between a start and an end.

    Args:
        sequences: symbols in order; a sequence may have none.
        at_least: fewest steps of a sequence, reached by more ends.

    Returns:
        steps (t,): numbers of symbols, of start (0) and end (1); owner (t,): number of the
        sequence, ascending; the symbols, spaces written as underscores so that `joined` can be
        taken apart.
    """
    number = {START: 0, END: 1}
    steps: list[int] = []
    sizes = []
    for sequence in sequences:
        inner = [number.setdefault(symbol.replace(" ", "_"), len(number)) for symbol in sequence]
        ends = max(1, at_least - 1 - len(inner))
        steps += [0, *inner, *[1] * ends]
        sizes.append(1 + len(inner) + ends)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    return np.array(steps, dtype=np.int64), owner, list(number)


def permuted(steps: IntArray, owner: IntArray, rng: np.random.Generator) -> IntArray:
    """The steps of each sequence in random order, start and end where they are.

    Args:
        steps: (t,) as from `bracketed`.
        owner: (t,) likewise.
        rng: source of the order.
    """
    inner = np.flatnonzero(steps >= FIRST_SYMBOL)
    shuffled = steps.copy()
    shuffled[inner] = steps[inner[np.lexsort((rng.random(len(inner)), owner[inner]))]]
    return shuffled


def ngrams(steps: IntArray, owner: IntArray, length: int) -> tuple[IntArray, IntArray, IntArray]:
    """Every run of `length` steps within a sequence.

    Args:
        steps: (t,) as from `bracketed`.
        owner: (t,) likewise.
        length: >= 1.

    Returns:
        the distinct n-grams (g, length); for each of o occurrences which it is (o,) and whose (o,).
    """
    starts = max(len(owner) - length + 1, 0)
    at = np.flatnonzero(owner[:starts] == owner[length - 1 :])
    base = int(steps.max(initial=0)) + 1
    _, first, codes = np.unique(steps[at], return_index=True, return_inverse=True)
    for ahead in range(1, length):
        longer = codes * base + steps[at + ahead]  # small: codes are numbered anew each time
        _, first, codes = np.unique(longer, return_index=True, return_inverse=True)
    return steps[at[first][:, None] + np.arange(length)], codes, owner[at]


def joined(symbols: Sequence[str]) -> str:
    """An n-gram in one string."""
    return SEPARATOR.join(symbols)
