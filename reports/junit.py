"""Verdicts as JUnit XML, which Jenkins, GitLab and GitHub's actions show as tests.

A regression is a failure, what could not be decided is skipped, and what crashed or is missing is an error.
The elements, their order and their attributes are those of the schema that Jenkins publishes for its xUnit
plug-in (`jenkins-junit.xsd`), which is the common part of what is read.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from xml.etree import ElementTree

from bench.record import Record, RegressionGate, RegressionSample
from bench.regression_judge import CaseJudgement, RegressionJudgement, Status, gate_regressed, gate_words
from reports.load import Report
from reports.proof_judge import Proof
from reports.proof_judge import Verdict as ClaimVerdict
from reports.proof_words import measured_text, target_text
from reports.sentences import failed_stages
from reports.summary import summarise
from reports.verdict import Tone, verdict

Outcome = Literal["passed", "failure", "error", "skipped"]
STATUS_OUTCOMES: dict[Status, Outcome] = {
    "unchanged": "passed",
    "faster": "passed",
    "new": "passed",
    "regressed": "failure",
    "inconclusive": "skipped",
    "failed": "error",
    "missing": "error",
}
CLAIM_OUTCOMES: dict[ClaimVerdict, Outcome] = {"reached": "passed", "falls short": "failure"}
"""Any other verdict decides nothing."""
TONE_OUTCOMES: dict[Tone, Outcome] = {"good": "passed", "bad": "failure", "open": "skipped"}
NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML document can hold, not even escaped: among them what colours a terminal."""


@dataclass(frozen=True, kw_only=True)
class _Case:
    name: str
    outcome: Outcome
    message: str
    """One sentence: shown beside the name of what did not pass, as output of what did."""
    kind: str
    """Of a failure or error: what a reader may filter by."""
    seconds: float = 0.0


def regression_junit(judgement: RegressionJudgement, records: Sequence[Record] = ()) -> str:
    """JUnit XML of a regression run: one test a benchmark, and one for each further place whose exact counts
    differ. `records`, if given, say how long each was measured.
    """
    seconds: dict[str, float] = {}
    for record in records:
        if isinstance(record, RegressionSample):
            spent = record.calls * sum(record.seconds) + record.naive_calls * sum(record.naive_seconds)
            seconds[record.case] = seconds.get(record.case, 0.0) + (spent if 0 <= spent < 1e9 else 0.0)
    cases = [_judged(case, seconds.get(case.case, 0.0)) for case in judgement.cases]
    known = {case.case for case in judgement.cases}
    elsewhere = dict.fromkeys(gate.case for gate in judgement.gates if gate.case not in known)
    for place in elsewhere:
        cases.append(_counted(place, [gate for gate in judgement.gates if gate.case == place]))
    # A run that judged nothing must not look like one in which everything passed.
    whole: Outcome = "error" if judgement.verdict in ("failed", "not comparable") else "skipped"
    if not cases or (whole == "error" and all(case.outcome != "error" for case in cases)):
        cases.insert(0, _Case(name="run", outcome=whole, message=judgement.headline, kind=judgement.verdict))
    return _document("vicreg-fast.bench.loss", cases, judgement.plan.time)


def failed_junit(message: str, kind: str) -> str:
    """JUnit XML of a regression run that could not begin: one error, whose type is `kind`."""
    case = _Case(name="run", outcome="error", message=message, kind=kind)
    return _document("vicreg-fast.bench.loss", [case], datetime.now(UTC).isoformat())


def comparison_junit(report: Report) -> str:
    """JUnit XML of `bench --compare`: a test for each scenario's run and, of the contender, one for each
    number of the verdict.
    """
    summary = summarise(report)
    spent: dict[str, float] = {}
    for record in report.throughputs:
        spent[record.scenario] = spent.get(record.scenario, 0.0) + sum(record.window_seconds)
    cases = []
    for name in summary.scenarios:
        stages = failed_stages(summary, name)
        why = "; ".join(f"{f.stage}: {f.message}" for f in report.failures if f.scenario == name)
        cases.append(
            _Case(
                name=f"{name} runs",
                outcome="error" if stages else "passed",
                message=why,
                kind="failed",
                seconds=spent.get(name, 0.0),
            )
        )
    plan = report.plan
    for card in verdict(report).cards:
        cases.append(
            _Case(
                name=f"{plan.contender} against {plan.baseline}: {card.label}",
                outcome=TONE_OUTCOMES[card.tone],
                message=f"{card.value} ({card.detail})",
                kind="worse",
            )
        )
    return _document("vicreg-fast.bench.compare", cases, plan.time)


def proof_junit(proof: Proof) -> str:
    """JUnit XML of a proof: a test for each part, and one for each claim that has a target."""
    cases = []
    for part in proof.source.parts:
        outcome: Outcome = "error" if part.status == "failed" else "skipped" if part.why else "passed"
        name = f"{part.name} runs"
        cases.append(_Case(name=name, outcome=outcome, message=part.why, kind="failed", seconds=part.seconds))
    for row in proof.targets:
        said = f"{measured_text(row)}, target {target_text(row.claim)}{f': {row.why}' if row.why else ''}"
        outcome = CLAIM_OUTCOMES.get(row.verdict, "skipped")
        cases.append(_Case(name=row.claim.sentence, outcome=outcome, message=said, kind=row.verdict))
    return _document("vicreg-fast.prove", cases, proof.source.plan.time)


def _judged(case: CaseJudgement, seconds: float) -> _Case:
    message = case.reason if case.status == "unchanged" else f"{case.status}: {case.reason}"
    outcome = STATUS_OUTCOMES[case.status]
    return _Case(name=case.case, outcome=outcome, message=message, kind=case.status, seconds=seconds)


def _counted(place: str, gates: Iterable[RegressionGate]) -> _Case:
    """A place of exact counts that is no benchmark, such as a kernel that shrank, or that one side lacks."""
    found = list(gates)
    outcome: Outcome = "failure" if any(map(gate_regressed, found)) else "passed"
    return _Case(name=place, outcome=outcome, message=", ".join(map(gate_words, found)), kind="regressed")


def _document(suite: str, cases: Sequence[_Case], time: str) -> str:
    totals = {
        "tests": str(len(cases)),
        "failures": str(sum(case.outcome == "failure" for case in cases)),
        "errors": str(sum(case.outcome == "error" for case in cases)),
    }
    seconds = f"{sum(case.seconds for case in cases):.3f}"
    root = ElementTree.Element("testsuites", {"name": "vicreg-fast", **totals, "time": seconds})
    skipped = str(sum(case.outcome == "skipped" for case in cases))
    attributes = {**totals, "skipped": skipped, "time": seconds, **_timestamp(time)}
    listed = ElementTree.SubElement(root, "testsuite", {"name": suite, **attributes})
    for case in cases:
        name = {"name": _text(case.name) or "unnamed", "classname": suite, "time": f"{case.seconds:.3f}"}
        test = ElementTree.SubElement(listed, "testcase", name)
        message = _text(case.message)
        if case.outcome in ("failure", "error"):
            found = {"message": message, "type": _text(case.kind)}
            ElementTree.SubElement(test, case.outcome, found).text = message
        elif case.outcome == "skipped":
            ElementTree.SubElement(test, "skipped", {"message": message})
        elif message:
            ElementTree.SubElement(test, "system-out").text = message
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _text(text: str) -> str:
    return NOT_XML.sub("�", text)


def _timestamp(time: str) -> dict[str, str]:
    """UTC to the second, without the offset that the schema does not allow; none where `time` is no time."""
    try:
        moment = datetime.fromisoformat(time)
    except ValueError:
        return {}
    utc = moment if moment.tzinfo is None else moment.astimezone(UTC)
    return {"timestamp": utc.strftime("%Y-%m-%dT%H:%M:%S")}
