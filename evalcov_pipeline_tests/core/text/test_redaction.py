"""What leaves the lake holds no personal data and no secrets, and otherwise says what it said."""

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalcov_pipeline.core.text.redaction import Finding, Redactor
from evalcov_pipeline.core.text.redaction.numbers import luhn_valid

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))
from redaction import hand_written, sample, score

REDACTOR = Redactor()


def shout(text: str) -> str:
    return text.upper()


def forget(text: str) -> None:
    return None


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("write to jane.doe+x@example.co.uk.", "write to <EMAIL>."),
        ("jane at example dot com", "<EMAIL>"),
        ("call (415) 555-2671 today", "call <PHONE> today"),
        ("ring 07700 900123", "ring <PHONE>"),
        ("card 4111 1111 1111 1111 123", "card <CARD> 123"),
        ("to DE89 3704 0044 0532 0130 00 please", "to <IBAN> please"),
        ("from 203.0.113.77, 2001:db8::8a2e:370:7334", "from <IP>, <IP>"),
        ("my ssn is 123-45-6789", "my ssn is <SSN>"),
        ("password: Tr0ub4dor&3", "password: <SECRET>"),
        ("postgres://admin:hunter2@db.internal/prod", "postgres://<SECRET>@db.internal/prod"),
        ("my name is peter parker and I wait", "my name is <NAME> and I wait"),
        ("Dear Mr. van den Berg, hello", "Dear <NAME>, hello"),
        ("tell Giulia Rossi's lawyer", "tell <NAME>'s lawyer"),
    ],
)
def test_a_placeholder_stands_where_personal_data_was(text: str, left: str) -> None:
    assert REDACTOR.redact(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "order number 2125550187, ean 4034439272795",
        "4111 1111 1111 1112 is invalid, so is DE89 3704 0044 0532 0130 01",
        "version 10.4.2.1, firmware v1.12.0.5, section 4.3.2",
        "from 12:30:45 on 2026-11-20 until 13:00, seat 14A",
        "call me on 2026-11-20 at 23:16 about order NL-00180898",
        "transfer 1,234,567.89 USD, invoice INV-2026-0004471",
        "commit 9fceb02d0ae598e95dc970b74767f19372d61af8",
        "request 123e4567-e89b-12d3-a456-426614174000 failed",
        "my password is wrong and the token is expired",
        "Will Apple Pay work in San Jose? Contact Customer Support",
        "std::vector<int>::iterator, a @decorator, 3 @ 4.50 each",
    ],
)
def test_look_alikes_stay(text: str) -> None:
    assert REDACTOR.redact(text) == text


def test_hand_written_texts_are_redacted_as_labelled() -> None:
    table = score(hand_written(), REDACTOR.find)
    assert table["all"]["recall"] >= 0.98
    assert table["all"]["precision"] >= 0.98
    assert table["NAME"]["recall"] >= 0.9
    rules = [row for kind, row in table.items() if kind not in ("NAME", "all")]
    assert all(row["recall"] == row["precision"] == 1 for row in rules)


def test_planted_personal_data_of_the_sample_does_not_leave() -> None:
    table = score(sample(), REDACTOR.find)
    assert table["all"]["planted"] > 300
    for kind in ("EMAIL", "PHONE", "CARD", "IBAN", "IP", "SECRET"):
        assert table[kind]["recall"] >= 0.98, kind
    assert table["NAME"]["recall"] >= 0.9
    assert table["all"]["precision"] >= 0.95


PIECES = st.sampled_from(
    [
        *("my name is ", "anna", "Anna ", "Schmidt", "Mr. ", "<NAME>", "jane@example.com", " at "),
        *("+44 20 7946 0958", "4111 1111 1111 1111", "7 ", "password: ", "Tr0ub4dor", "10.0.0.1"),
        *(":", "@", "."),
    ]
)


@given(st.lists(st.one_of(PIECES, st.text(max_size=5)), max_size=8).map("".join))
def test_redacting_twice_changes_nothing(text: str) -> None:
    once = REDACTOR.redact(text)
    assert REDACTOR.redact(once) == once
    assert REDACTOR.find(once) == []


@given(st.lists(PIECES, max_size=8).map("".join))
def test_findings_are_apart_and_in_order(text: str) -> None:
    findings = REDACTOR.find(text)
    assert all(a.end <= b.start for a, b in pairwise(findings))
    assert all(0 <= f.start < f.end <= len(text) for f in findings)


@given(st.text("0123456789", min_size=11, max_size=18))
def test_every_change_of_one_digit_breaks_the_check_digit(digits: str) -> None:
    valid = [d for d in "0123456789" if luhn_valid(digits + d)]
    assert len(valid) == 1


@pytest.mark.timeout(30)
def test_long_texts_of_any_pattern_take_linear_time() -> None:
    for unit in ("a", "1 ", "a.", "-", "A ", "ab@", "x at ", "1234-", ":a", "/"):
        REDACTOR.redact(unit * (20_000 // len(unit)))


def test_own_patterns_take_precedence() -> None:
    redactor = Redactor(patterns={"ORDER": r"ORD-\d{6}", "DIGITS": r"\d{16}"})
    assert redactor.redact("ORD-123456 by 4111111111111111") == "<ORDER> by <DIGITS>"
    assert redactor.find("ORD-123456") == [Finding(0, 10, "ORDER")]


def test_names_can_be_left_in() -> None:
    assert Redactor(names=False).redact("Dear Anna Schmidt") == "Dear Anna Schmidt"


def test_the_region_decides_on_numbers_without_a_country_code() -> None:
    text = "020 7946 0958 rang"
    assert Redactor(default_region="gb").redact(text) == "<PHONE> rang"
    assert REDACTOR.redact(text) == text


def test_an_own_callable_comes_last() -> None:
    redactor = Redactor(function=f"{__name__}:shout")
    assert redactor.redact_all(["mail a@example.com", "b"]) == ["MAIL <EMAIL>", "B"]


def test_an_own_callable_must_return_a_text() -> None:
    with pytest.raises(ValueError, match="returned NoneType"):
        Redactor(function=f"{__name__}:forget").redact("x")


def test_an_own_callable_that_fails_is_blamed() -> None:
    with pytest.raises(ValueError, match="the redaction function failed"):
        Redactor(function="os:getpid").redact("x")


def test_a_text_full_of_findings_takes_no_longer_than_its_length_deserves() -> None:
    n = 20_000
    assert REDACTOR.redact("a@example.com " * n).count("<EMAIL>") == n


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patterns": {"ORDER": "("}}, "redaction pattern ORDER"),
        ({"patterns": {"order id": "x"}}, "in capitals"),
        ({"function": "no.such:thing"}, "cannot be imported"),
        ({"function": "os:sep"}, "not callable"),
        ({"default_region": "XX"}, "unknown region"),
    ],
)
def test_options_that_cannot_work_are_refused_at_once(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Redactor(**options)
