"""What feedback on a turn says: whether somebody was not content."""

from __future__ import annotations

import polars as pl

_BAD_LABELS = ("thumbs_down", "negative", "dislike", "bad", "incorrect", "down", "fail")


def rejected(feedback: pl.Expr) -> pl.Expr:
    """Whether any feedback on a turn says that somebody was not content.

    Args:
        feedback: lists of {name, value, label, annotator_kind}; a label decides, else a value of 0
            or less.
    """
    label, value = (pl.element().struct.field(name) for name in ("label", "value"))
    return feedback.list.eval(discontent(label, value)).list.any()


def discontent(label: pl.Expr, value: pl.Expr) -> pl.Expr:
    """Whether one piece of feedback is bad: its label decides, else a value of 0 or less."""
    told = label.str.to_lowercase().is_in(_BAD_LABELS)
    return pl.when(label.is_not_null()).then(told).otherwise(value <= 0).fill_null(False)
