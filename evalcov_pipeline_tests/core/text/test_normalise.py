"""One spelling and one name per text."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalcov_pipeline.core.text.normalise import normalise, normalise_all, text_hash, text_hashes


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("  where is\n\tmy   order? ", "where is my order?"),
        ("ﬁle ｗｉｄｅ １２", "file wide 12"),
        ("cafe\u0301", "café"),
        ("non\u00a0breaking\u2003space", "non breaking space"),
        ("nul\x00 and bell\x07", "nul and bell"),
        ("\ufeffmark, zero\u200bwidth, soft\u00adhyphen", "mark, zerowidth, softhyphen"),
        ("lone \ud83d surrogate", "lone \ufffd surrogate"),
        ("👩\u200d🔧 keeps its joiner", "👩\u200d🔧 keeps its joiner"),
        ("\u200b \n", ""),
    ],
)  # fmt: skip
def test_invisible_differences_vanish(written: str, read: str) -> None:
    assert normalise(written) == read


@given(st.text(st.characters(codec=None)))
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    once.encode()


@given(st.text())
def test_a_text_and_its_normal_form_have_one_name(text: str) -> None:
    assert text_hash(text) == text_hash(normalise(text))


def test_case_and_punctuation_make_another_text() -> None:
    spellings = ["Reset my PIN", "reset my pin", "reset my pin?", "reset my pins"]
    assert len({text_hash(text) for text in spellings}) == len(spellings)


def test_names_do_not_change_between_releases() -> None:
    assert text_hash("hello world") == "b94d27b9934d3e08a52e52d7da7dabfa"


def test_columns_follow_the_scalar_rule_and_keep_nulls() -> None:
    texts = pl.Series("query_text", [" a  b ", None, "ﬁn", ""])
    assert normalise_all(texts).to_list() == ["a b", None, "fin", ""]
    assert normalise_all(texts).name == "query_text"
    assert text_hashes(texts).to_list() == [
        text_hash(" a  b "), None, text_hash("ﬁn"), text_hash("")
    ]  # fmt: skip


def test_a_column_without_texts_keeps_its_type() -> None:
    empty = pl.Series("query_text", [], dtype=pl.String)
    assert normalise_all(empty).dtype == text_hashes(empty).dtype == pl.String
