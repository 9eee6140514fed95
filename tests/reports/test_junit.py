"""JUnit XML: what is a failure, an error or skipped, and that readers of the common schema take it."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.regression_judge import CaseJudgement, RegressionJudgement
from reports.junit import comparison_junit, regression_junit
from tests.reports.regression_runs import RegressionRun
from tests.reports.test_render import HOSTILE

SCHEMA = {
    # jenkins-junit.xsd: attributes (those that are required with a !) and children in any order.
    "testsuites": ({"name", "time", "tests", "failures", "disabled", "errors"}, {"testsuite"}),
    "testsuite": (
        {
            "name!", "tests!", "failures", "errors", "time", "disabled", "skipped", "timestamp", "hostname",
            "id", "package",
        },
        {"properties", "testcase", "system-out", "system-err"},
    ),
    "testcase": (
        {"name!", "assertions", "time", "classname", "status"},
        {"skipped", "error", "failure", "system-out", "system-err"},
    ),
    "failure": ({"type", "message"}, set()),
    "error": ({"type", "message"}, set()),
    "skipped": ({"type", "message"}, set()),
    "system-out": (set(), set()),
}  # fmt: skip


def parsed(text: str) -> ElementTree.Element:
    """The <testsuite>, after a check against the schema and of the counts."""
    assert text.startswith('<?xml version="1.0" encoding="UTF-8"?>\n')
    root = ElementTree.fromstring(text.encode("utf-8"))
    for element in root.iter():
        attributes, children = SCHEMA[element.tag]
        assert set(element.keys()) <= {name.rstrip("!") for name in attributes}, element.tag
        assert {name[:-1] for name in attributes if name.endswith("!")} <= set(element.keys())
        assert {child.tag for child in element} <= children
        if "time" in element.attrib:
            assert float(element.attrib["time"]) >= 0
    (suite,) = root
    cases = list(suite)
    outcomes = [{child.tag for child in case} - {"system-out"} for case in cases]
    assert suite.attrib["tests"] == str(len(cases))
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert suite.attrib[attribute] == str(outcomes.count({tag})), attribute
    return suite


def outcomes(text: str) -> dict[str, str]:
    found = {}
    for case in parsed(text):
        tags = [child.tag for child in case]
        found[case.attrib["name"]] = tags[0] if tags and tags[0] != "system-out" else "passed"
    return found


@pytest.fixture
def run(tmp_path: Path) -> RegressionRun:
    """One case of each kind."""
    names = ("slow", "same", "quick", "crashed", "gone")
    new = RegressionRun(
        tmp_path / "run.jsonl", *names, head_cases=("slow", "same", "quick", "crashed", "born")
    )
    new.timed("slow", 1.2, attempts=(0, 1)).timed("same").timed("quick", 0.7)
    return new.failure("crashed", "head, round 1", "out of memory").gate("born", "operators", None, 5)


def test_each_status_has_its_outcome(run: RegressionRun) -> None:
    report = run.report()
    text = regression_junit(report.judgement, report.records)
    assert outcomes(text) == {
        "slow": "failure", "same": "passed", "quick": "passed", "crashed": "error", "born": "passed",
        "gone": "error",
    }  # fmt: skip
    suite = parsed(text)
    assert suite.attrib["timestamp"] == "2026-01-02T03:04:05"
    by_name = {case.attrib["name"]: case for case in suite}
    assert by_name["slow"][0].attrib["type"] == "regressed"
    assert "slower" in by_name["slow"][0].attrib["message"]
    assert "out of memory" in by_name["crashed"][0].attrib["message"]
    assert by_name["born"][0].tag == "system-out"
    assert "the base does not have it" in str(by_name["born"][0].text)
    # Three sides, eight rounds, five pairs, of 2 × 10 ms and 40 ms.
    assert float(by_name["same"].attrib["time"]) == pytest.approx(3 * 8 * 5 * 0.06, rel=0.01)
    assert float(by_name["gone"].attrib["time"]) == 0


def test_what_could_not_be_decided_is_skipped(tmp_path: Path) -> None:
    report = RegressionRun(tmp_path / "run.jsonl", "loud").timed("loud", noise=60).report()
    assert report.judgement.verdict == "inconclusive"
    assert outcomes(regression_junit(report.judgement)) == {"loud": "skipped"}


def test_a_kernel_that_grew_is_a_failure_and_one_that_shrank_is_not(tmp_path: Path) -> None:
    run = RegressionRun(tmp_path / "run.jsonl", "same").timed("same")
    run.gate("centre sm_90", "registers", 40, 48).gate("finish sm_90", "registers", 40, 38)
    judgement = run.report().judgement
    assert outcomes(regression_junit(judgement)) == {
        "same": "passed", "centre sm_90": "failure", "finish sm_90": "passed",
    }  # fmt: skip
    assert "registers 40 → 38" in regression_junit(judgement)


def test_a_run_that_compared_nothing_does_not_look_passed(tmp_path: Path) -> None:
    run = RegressionRun(
        tmp_path / "run.jsonl", "same", source="records", base_fingerprint={"torch": "2.11.0"}
    )
    found = outcomes(regression_junit(run.timed("same").report().judgement))
    assert found == {"run": "error"}
    empty = RegressionRun(tmp_path / "empty.jsonl").report().judgement
    assert outcomes(regression_junit(empty)) == {"run": "skipped"}


def test_a_side_that_ended_is_an_error_of_the_run(tmp_path: Path) -> None:
    run = RegressionRun(tmp_path / "run.jsonl", "same").timed("same").failure("head", "process", "killed")
    assert outcomes(regression_junit(run.report().judgement)) == {"run": "error", "same": "passed"}


def test_characters_that_xml_cannot_hold_are_replaced(tmp_path: Path) -> None:
    plan = RegressionRun(tmp_path / "run.jsonl").plan.model_copy(update={"time": "yesterday"})
    hostile = HOSTILE + "\x00\ud800\ufffe" + 'quotes " and\nlines & ]]>'
    case = CaseJudgement(
        case=hostile, status="regressed", ratio=None, control=None, tau=None, confirmed=None, reason=hostile
    )
    judgement = RegressionJudgement(
        plan=plan, verdict="regression", headline="", cases=(case,), gates=(), gates_compared=0
    )
    suite = parsed(regression_junit(judgement))
    assert "timestamp" not in suite.attrib
    name = suite[0].attrib["name"]
    assert "<script>alert(1)</script>" in name
    assert name.count("�") == 4, "escape, NUL, half a pair and a non-character"
    assert name.endswith('quotes " and\nlines & ]]>')


def test_a_comparison_fails_where_the_contender_is_worse(full_run, new_run) -> None:
    full_run.failure("tuned", "throughput", "no C compiler")
    suite = parsed(comparison_junit(full_run.report()))
    assert suite.attrib["timestamp"] == "2026-01-02T03:04:05"
    found = outcomes(comparison_junit(full_run.report()))
    assert found["baseline runs"] == found["fast runs"] == "passed"
    assert found["tuned runs"] == "error"
    assert "no C compiler" in comparison_junit(full_run.report())
    speed = next(name for name in found if "Speed" in name)
    assert speed.startswith("fast against baseline: ")
    assert found[speed] == "passed"
    worse = new_run(rounds=8).throughput("baseline", [100.0] * 8).throughput("fast", [80.0] * 8)
    worse.memory("baseline", 1.0).memory("fast", 3.0)
    outcome_of = {
        name.partition(": ")[2].split(",")[0]: value
        for name, value in outcomes(comparison_junit(worse.report())).items()
    }
    assert outcome_of["Speed"] == outcome_of["Memory"] == "failure"
    assert outcome_of["Linear accuracy"] == "skipped"
