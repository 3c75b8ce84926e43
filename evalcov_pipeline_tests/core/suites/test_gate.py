"""The gate: what stops a change, what does not, and what it says to people and machines."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from xml.etree import ElementTree

import pytest
from scipy.stats import betabinom, binom, binomtest

from evalcov_pipeline.cli import main
from evalcov_pipeline.core.suites.gate import SuiteCase, Try, judge_gate, paired_p_value
from evalcov_pipeline.core.suites.reruns import BREAKS_ALPHA, STABLE, confirmation, rerun_rule
from evalcov_pipeline.core.suites.selection import suite_id
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.formats.suites import read_suite, write_suite
from evalcov_pipeline.reports import gate as reports
from evalcov_pipeline.settings import get_settings
from evalcov_pipeline_tests.conftest import write_jsonl

SUITE = [SuiteCase(f"c{i}", "refunds" if i < 5 else "delivery") for i in range(30)]
RULE = rerun_rule([(STABLE, None)] * len(SUITE))


def tries(
    failing: dict[str, Sequence[bool]] | None = None, suite: Sequence[SuiteCase] = SUITE
) -> list[Try]:
    """A run in which every case passes but for those whose verdicts are given."""
    return [
        Try(case.case_id, repeat, passed)
        for case in suite
        for repeat, passed in enumerate((failing or {}).get(case.case_id, [True]))
    ]


BROKEN = [False] * (1 + RULE.failures)


def test_a_run_that_passes_everywhere_passes() -> None:
    assert judge_gate(SUITE, tries()).verdict == "PASS"


def test_a_failure_that_reruns_confirm_is_a_break_and_names_its_mode_and_incident() -> None:
    suite = [SuiteCase("c0", "refunds", incident_id="INC-1"), *SUITE[1:]]
    outcome = judge_gate(suite, tries({"c0": BROKEN}))
    assert outcome.verdict == "FAIL"
    (broken,) = outcome.those("broken")
    assert (broken.case.failure_mode, broken.case.incident_id) == ("refunds", "INC-1")


def test_a_failure_that_reruns_clear_does_not_stop_a_change() -> None:
    cleared = [False, *[True] * (RULE.reruns - RULE.failures + 1)]
    outcome = judge_gate(SUITE, tries({"c0": cleared}))
    assert outcome.verdict == "PASS"
    assert [case.case.case_id for case in outcome.those("flaky")] == ["c0"]


def test_a_failure_without_enough_reruns_is_inconclusive_and_says_how_many_it_wants() -> None:
    outcome = judge_gate(SUITE, tries({"c3": [False, True]}))
    assert outcome.verdict == "INCONCLUSIVE"
    assert [(one.case.case_id, one.wanted) for one in outcome.to_run] == [("c3", RULE.reruns - 1)]


def test_a_failure_is_cleared_once_the_reruns_left_cannot_confirm_it() -> None:
    almost = [False, *[True] * (RULE.reruns - RULE.failures)]
    assert judge_gate(SUITE, tries({"c0": almost})).cases[0].state == "undecided"
    assert judge_gate(SUITE, tries({"c0": [*almost, True]})).cases[0].state == "flaky"


def test_further_reruns_than_the_rule_asks_for_cannot_turn_a_cleared_case_into_a_break() -> None:
    cleared = [False, *[True] * RULE.reruns, *[False] * 20]
    assert judge_gate(SUITE, tries({"c0": cleared})).verdict == "PASS"


def test_a_run_cut_short_is_inconclusive_with_the_missing_ids() -> None:
    outcome = judge_gate(SUITE, tries()[:27])
    assert outcome.verdict == "INCONCLUSIVE"
    assert [one.case.case_id for one in outcome.to_run] == ["c27", "c28", "c29"]


def test_a_confirmed_break_stays_one_when_the_rest_of_the_run_is_missing() -> None:
    assert judge_gate(SUITE, tries({"c0": BROKEN})[:10]).verdict == "FAIL"


def test_a_case_of_which_only_reruns_came_is_missing() -> None:
    run = [one for one in tries({"c0": [False, True]}) if one != Try("c0", 0, False)]
    assert [one.case.case_id for one in judge_gate(SUITE, run).to_run] == ["c0"]


def test_tries_may_be_numbered_from_one() -> None:
    run = [Try(one.case_id, one.repeat + 1, one.passed) for one in tries({"c0": BROKEN})]
    assert judge_gate(SUITE, run).verdict == "FAIL"


def test_results_of_unknown_cases_are_inconclusive() -> None:
    outcome = judge_gate(SUITE, [*tries(), Try("of another suite", 0, True)])
    assert (outcome.verdict, outcome.unknown) == ("INCONCLUSIVE", ("of another suite",))


def test_a_run_that_fails_everywhere_asks_whether_the_system_was_there() -> None:
    once = judge_gate(SUITE, tries({case.case_id: [False] for case in SUITE}))
    assert once.verdict == "INCONCLUSIVE"
    assert "every case failed" in " ".join(once.reasons)
    again = judge_gate(SUITE, tries({case.case_id: BROKEN for case in SUITE}))
    assert (again.verdict, len(again.those("broken"))) == ("FAIL", 30)


def test_a_case_that_does_not_decide_is_shown_and_changes_nothing() -> None:
    suite = [SuiteCase("c0", decides=False), *SUITE[1:]]
    outcome = judge_gate(suite, tries({"c0": BROKEN}))
    assert outcome.verdict == "PASS"
    assert outcome.cases[0].state == "broken"


def test_verdicts_of_a_refused_judge_never_enter_and_their_cases_go_to_people() -> None:
    suite = [SuiteCase("c0", refused_judges=frozenset({"lenient-2"})), *SUITE[1:]]
    refused = [Try("c0", repeat, False, "lenient-2") for repeat in range(9)]
    outcome = judge_gate(suite, [*tries()[1:], *refused])
    assert outcome.verdict == "PASS"
    assert outcome.cases[0].state == "people"


def test_many_cases_turning_worse_fail_against_the_baseline_even_if_none_is_confirmed() -> None:
    cleared = [False, *[True] * RULE.reruns]
    run = tries({f"c{i}": cleared for i in range(5)})
    assert judge_gate(SUITE, run).verdict == "PASS"
    against = judge_gate(SUITE, run, tries())
    assert against.verdict == "FAIL"
    assert against.paired is not None
    assert (against.paired.worse, against.paired.better) == (5, 0)
    assert judge_gate(SUITE, tries(), run).verdict == "PASS", "better is no reason to fail"


def test_an_incomplete_run_is_not_held_against_the_baseline() -> None:
    cleared = [False, *[True] * RULE.reruns]
    run = [one for one in tries({f"c{i}": cleared for i in range(5)}) if one.case_id != "c29"]
    assert judge_gate(SUITE, run, tries()).verdict == "INCONCLUSIVE"


def test_the_paired_p_value_is_that_of_the_binomial_test() -> None:
    for worse, better in product(range(1, 9), range(9)):
        expected = binomtest(worse, worse + better, alternative="greater").pvalue
        assert paired_p_value(worse, better) == pytest.approx(expected)
    assert paired_p_value(0, 0) == 1
    assert paired_p_value(3000, 1000) < 1e-100


def test_the_probability_of_a_confirmed_break_is_the_binomial_one() -> None:
    for fails, reruns, failures in product((0.03, 0.2, 0.8), (1, 4, 8), (1,)):
        exact = fails * binom.sf(failures - 1, reruns, fails)
        assert confirmation(fails, None, reruns, failures) == pytest.approx(exact)
    # A rate that rests on 20 tries is a Beta; the first failure moves it.
    a, b = 0.6, 19.4
    exact = a / (a + b) * betabinom.sf(1, 4, a + 1, b)
    assert confirmation(0.03, 20, 4, 2) == pytest.approx(exact)
    assert confirmation(0.03, 20, 4, 2) > confirmation(0.03, None, 4, 2)
    for many in (1e15, 1e300):
        assert confirmation(0.03, many, 4, 2) == pytest.approx(confirmation(0.03, None, 4, 2))


def test_more_breaks_than_cases_are_no_share_of_runs() -> None:
    hopeless = judge_gate([SuiteCase(f"c{i}", pass_rate=0) for i in range(30)], tries())
    assert hopeless.rule.false_alarm == pytest.approx(30)
    assert "100.0% false alarms expected" in reports.text(hopeless, "suite")


@pytest.mark.parametrize("n", [1, 10, 30, 100, 300])
def test_false_alarms_of_stable_cases_are_within_the_level_and_power_is_kept(n: int) -> None:
    rule = rerun_rule([(0.97, None)] * n)
    q = 0.03
    alarm = n * q * binom.sf(rule.failures - 1, rule.reruns, q)
    assert rule.false_alarm == pytest.approx(alarm)
    assert alarm <= BREAKS_ALPHA
    assert rule.power == pytest.approx(0.8 * binom.sf(rule.failures - 1, rule.reruns, 0.8))
    assert rule.power >= 0.75


def test_shakier_cases_are_rerun_more_often() -> None:
    shaky = rerun_rule([(0.9, None)] * 30)
    assert shaky.reruns > RULE.reruns
    assert shaky.false_alarm <= BREAKS_ALPHA


def test_where_no_rule_is_quiet_the_quietest_is_taken_and_its_alarms_are_stated() -> None:
    hopeless = rerun_rule([(0.5, None)] * 30)
    assert hopeless.false_alarm > BREAKS_ALPHA


def test_a_suite_needs_distinct_cases_and_one_that_decides() -> None:
    with pytest.raises(ValueError, match="distinct"):
        judge_gate([SuiteCase("a"), SuiteCase("a")], [])
    with pytest.raises(ValueError, match="decides"):
        judge_gate([SuiteCase("a", decides=False)], [])


# The exported suite.

ROWS = [
    {"case_id": f"c{i}", "input": f"question {i}", "expected": "x", "failure_mode": "refunds"}
    for i in range(3)
]


def test_an_exported_suite_comes_back_as_it_was(tmp_path: Path) -> None:
    rows = [
        ROWS[0] | {"incident_id": "INC-1", "pass_rate": 0.98, "pass_rate_tries": 12.5},
        ROWS[1] | {"decides": False, "refused_judges": ["j1"], "reason": "pinned"},
        {"case_id": "c2", "input": [{"role": "user", "content": "hi"}], "category": "delivery"},
    ]
    (tmp_path / "suite.jsonl").write_bytes(write_suite(rows))
    suite = read_suite(tmp_path / "suite.jsonl")
    assert suite.suite_id == suite_id(rows)
    assert suite.cases == (
        SuiteCase("c0", "refunds", "INC-1", True, 0.98, 12.5),
        SuiteCase("c1", "refunds", None, False, refused_judges=frozenset({"j1"})),
        SuiteCase("c2", "delivery"),
    )


def test_the_id_of_a_suite_follows_its_cases_and_not_their_order_or_figures() -> None:
    found = suite_id(ROWS)
    assert suite_id(reversed(ROWS)) == found
    assert suite_id([row | {"pass_rate": 0.9, "reason": "r"} for row in ROWS]) == found
    for change in ({"expected": "y"}, {"decides": False}, {"incident_id": "INC-9"}):
        assert suite_id([ROWS[0] | change, *ROWS[1:]]) != found
    assert suite_id(ROWS[:2]) != found


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda lines: lines[:-1], "cut short, edited"),
        (lambda lines: [lines[0].replace(b"question", b"kwestion"), *lines[1:]], "cut short"),
        (lambda lines: [*lines, lines[0]], "twice"),
        (lambda lines: [*lines[:2], lines[2][:30]], "cannot be read"),
        (lambda lines: [b'{"input":"no id"}'], "case_id is missing"),
        (lambda lines: [b'{"case_id":"a","pass_rate":7}'], "pass_rate"),
        (lambda lines: [b'{"case_id":"a","suite_id":["a"]}'], "suite_id"),
        (lambda lines: [b'{"case_id":"a","decides":false}'], "no case of the suite decides"),
        (lambda lines: [b"\n"], "no case"),
    ],
)
def test_a_damaged_suite_is_refused_whole(
    tmp_path: Path, damage: Callable[[list[bytes]], list[bytes]], said: str
) -> None:
    path = tmp_path / "suite.jsonl"
    path.write_bytes(b"\n".join(damage(write_suite(ROWS).splitlines())))
    with pytest.raises(BadInput, match=said):
        read_suite(path)


# The command.

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the gate on rows of results; exit code and what it printed."""
    (tmp_path / "suite.jsonl").write_bytes(write_suite(ROWS))

    def run_gate(results: list[dict], *arguments: str) -> tuple[int, str, str]:
        write_jsonl(tmp_path / "results.jsonl", results)
        files = ["--suite", str(tmp_path / "suite.jsonl")] if "--suite" not in arguments else []
        with pytest.raises(SystemExit) as ended:
            main(["gate", "--results", str(tmp_path / "results.jsonl"), *files, *arguments])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        assert isinstance(ended.value.code, int)
        return ended.value.code, printed.out, printed.err

    return run_gate


def result(case: str, passed: bool = True, repeat: int = 0, **more: object) -> dict:
    return {"run_id": "r1", "case_id": case, "passed": passed, "repeat": repeat} | more


PASSING = [result(f"c{i}") for i in range(3)]


def test_exit_codes_are_those_of_the_contract(run: Run) -> None:
    assert run(PASSING)[0] == 0
    assert run([*PASSING[1:], *(result("c0", False, i) for i in range(6))])[0] == 1
    code, out, _ = run(PASSING[:2])
    assert code == 2
    assert "c2" in out


def test_what_to_run_again_is_written_for_machines(run: Run, tmp_path: Path) -> None:
    rerun = tmp_path / "rerun.jsonl"
    run([result("c0", False), result("c1")], "--rerun", str(rerun))
    rule = rerun_rule([(STABLE, None)] * len(ROWS))
    assert [json.loads(line) for line in rerun.read_text().splitlines()] == [
        {"case_id": "c2", "tries": 1},
        {"case_id": "c0", "tries": rule.reruns},
    ]


def test_reruns_may_come_in_a_file_of_their_own(run: Run, tmp_path: Path) -> None:
    again = tmp_path / "again.jsonl"
    write_jsonl(again, [result("c0", False, i) for i in range(1, 6)])
    failed = [result("c0", False), *PASSING[1:]]
    assert run(failed)[0] == 2
    assert run(failed, "--results", str(again))[0] == 1


def test_a_file_cut_off_in_a_line_misses_that_case_and_says_so(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = write_jsonl(tmp_path / "whole.jsonl", PASSING).read_bytes()
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(whole[:-9])
    with pytest.raises(SystemExit) as ended:
        main(["gate", "--results", str(cut), "--suite", str(tmp_path / "suite.jsonl")])
    printed = capsys.readouterr()
    assert ended.value.code == 2
    assert "c2" in printed.out
    assert "cut.jsonl, line 3" in printed.err


def test_empty_and_unreadable_results_are_bad_input(run: Run, tmp_path: Path) -> None:
    assert run([])[0] == 3
    code, _, err = run([{"verdict": "fine"}])
    assert code == 3
    assert "run_id is missing" in err
    code, _, err = run(PASSING, "--results", str(tmp_path / "none.jsonl"))
    assert code == 3
    assert "none.jsonl" in err


def test_a_repeated_result_counts_once_and_one_that_disagrees_is_refused(run: Run) -> None:
    assert run([*PASSING, PASSING[0]])[0] == 0
    code, _, err = run([*PASSING, result("c0", False)])
    assert code == 3
    assert "'c0'" in err
    assert "repeat" in err


def test_of_three_judges_on_one_case_refused_ones_are_passed_over(run: Run, tmp_path: Path) -> None:
    suite = tmp_path / "judges.jsonl"
    suite.write_bytes(write_suite([ROWS[0] | {"refused_judges": ["a", "b"]}, *ROWS[1:]]))
    judged = [
        result("c0", verdict, judge_id=j) for j, verdict in zip("abc", (0, 0, 1), strict=True)
    ]
    assert run([*judged, *PASSING[1:]], "--suite", str(suite))[0] == 0
    assert run([*judged, *PASSING[1:]])[0] == 3


def test_one_of_several_runs_has_to_be_chosen(run: Run) -> None:
    rows = [row | {"run_id": name} for name in ("mon", "tue") for row in PASSING]
    code, _, err = run(rows)
    assert code == 3
    assert "--run" in err
    assert "mon, tue" in err
    assert run(rows, "--run", "tue")[0] == 0
    assert run(rows, "--run", "wed")[0] == 3


def test_a_baseline_of_another_suite_is_bad_input(run: Run, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    write_jsonl(other, [result(f"other-{i}") for i in range(3)])
    code, _, err = run(PASSING, "--baseline", str(other))
    assert code == 3
    assert "another suite" in err
    write_jsonl(other, PASSING[:2])
    assert run(PASSING, "--baseline", str(other))[0] == 0


def test_without_a_suite_the_gate_says_how_to_get_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVALCOV_HOME", str(tmp_path / "home"))
    get_settings.cache_clear()
    write_jsonl(tmp_path / "results.jsonl", PASSING)
    with pytest.raises(SystemExit) as ended:
        main(["gate", "--results", str(tmp_path / "results.jsonl")])
    assert ended.value.code == 3
    assert "--suite" in capsys.readouterr().err


HOSTILE = "c|`@all` <img src=x> [x](y) #1 \x1b[2J\x07\ud7ff\u202e\n</testcase> & 'q' \"q\""


def test_hostile_ids_stay_text_in_every_form() -> None:
    suite = [SuiteCase(HOSTILE, HOSTILE, HOSTILE), SuiteCase("b")]
    outcome = judge_gate(suite, [Try(HOSTILE, i, False) for i in range(9)] + [Try("b", 0, True)])
    said = reports.markdown(outcome, "s1")
    (row,) = [line for line in said.splitlines() if line.startswith("| broken")]
    assert row.count("|") == 8
    assert not set("`@<[#\x1b\u202e") & set(row.replace("&#", ""))
    document = ElementTree.fromstring(reports.junit(outcome, "s1"))
    names = [case.get("name") for case in document.iter("testcase")]
    assert len(names) == 3
    assert "</testcase> & 'q' \"q\"" in str(names[0])
    assert "\x1b" not in reports.text(outcome, "s1")


def test_junit_counts_breaks_as_failures_and_open_questions_as_errors() -> None:
    suite = [*SUITE, SuiteCase("shown", decides=False)]
    run = [*tries({"c0": BROKEN, "c1": [False]})[:-1], *(Try("shown", i, False) for i in range(9))]
    (written,) = ElementTree.fromstring(reports.junit(judge_gate(suite, run), "s1"))
    counted = [int(written.get(name, "")) for name in ("tests", "failures", "errors", "skipped")]
    assert counted == [32, 2, 2, 1], "31 cases and the verdict; the verdict is a failure as well"
    states = {case.get("name"): [child.tag for child in case] for case in written}
    assert states["c0"] == ["failure"]
    assert states["c1"] == states["c29"] == ["error"]
    assert states["c2"] == []


FRESH = """
import resource, sys
from evalcov_pipeline.cli import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    assert ended.code == 0, ended.code
used = resource.getrusage(resource.RUSAGE_SELF)
heavy = [m for m in ("dagster", "torch", "duckdb", "sklearn", "vl_convert") if m in sys.modules]
print(used.ru_utime + used.ru_stime, heavy)
"""


def test_the_gate_starts_at_once_and_needs_neither_dagster_nor_torch(tmp_path: Path) -> None:
    rows = [ROWS[0] | {"case_id": f"c{i}"} for i in range(100)]
    (tmp_path / "suite.jsonl").write_bytes(write_suite(rows))
    write_jsonl(tmp_path / "results.jsonl", [result(row["case_id"]) for row in rows])
    arguments = ["gate", "--suite", "suite.jsonl", "--results", "results.jsonl"]
    printed = subprocess.run(
        [sys.executable, "-c", FRESH, *arguments],
        cwd=tmp_path, check=True, capture_output=True, text=True,
    ).stdout.splitlines()  # fmt: skip
    seconds, heavy = printed[-1].split(maxsplit=1)
    assert printed[0].startswith("PASS")
    assert heavy == "[]"
    assert float(seconds) < 2, "processor time"
