"""What the commands say of recorded measurements is what they said before the code behind them moved."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.frozen.cases import CASES, EXPECTED, RECORDS, Case
from tests.frozen.numbers import differences

ANEW = "a number that was frozen has changed; if it is meant to, see tests/frozen/write.py"


def expected(case: Case) -> Any:
    return json.loads((EXPECTED / f"{case.kind}.json").read_text(encoding="utf-8"))[case.name]


def case_of(name: str) -> Case:
    (case,) = [case for case in CASES if case.name == name]
    return case


@pytest.mark.parametrize("case", CASES, ids=[f"{case.kind}: {case.name}" for case in CASES])
def test_every_number_is_what_it_was(case: Case, tmp_path: Path) -> None:
    found = differences(expected(case), case.numbers(tmp_path / "out"))
    assert not found, "\n".join([ANEW, *found])


def test_nothing_frozen_is_left_unlooked_at() -> None:
    frozen = {
        (file.stem, name)
        for file in EXPECTED.glob("*.json")
        for name in json.loads(file.read_text(encoding="utf-8"))
    }
    assert frozen == {(case.kind, case.name) for case in CASES}
    assert len(frozen) == len(CASES)
    looked_at = {path for case in CASES for path in case.paths}
    assert {path for path in RECORDS.iterdir() if path not in looked_at} == set()


def changed_copy(name: str, folder: Path, kind: str, field: str, factor: float) -> Path:
    """The records with `factor` on the first value of `field` of the first record of `kind`."""
    lines = (RECORDS / name).read_text(encoding="utf-8").splitlines()
    at = next(i for i, line in enumerate(lines) if json.loads(line)["kind"] == kind)
    record = json.loads(lines[at])
    record[field][0] *= factor
    lines[at] = json.dumps(record)
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_one_changed_sample_is_seen(tmp_path: Path) -> None:
    case = case_of("loss.jsonl")
    copy = changed_copy(case.name, tmp_path, "loss-timing", "seconds", 1.001)
    found = differences(expected(case), case.numbers(tmp_path / "out", copy))
    assert [line.split(":")[0] for line in found] == ["samples.csv / official / sum"]


def test_a_slowdown_is_seen_in_every_place(tmp_path: Path) -> None:
    case = case_of("regression-fine.jsonl")
    copy = tmp_path / case.name
    text = (RECORDS / case.name).read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    for record in lines:
        if record["kind"] == "regression-sample" and record["side"] == "head":
            record["seconds"] = [1.5 * seconds for seconds in record["seconds"]]
    copy.write_text("".join(json.dumps(record) + "\n" for record in lines), encoding="utf-8")
    found = differences(expected(case), case.numbers(tmp_path / "out", copy))
    seen = {line.split(" / ")[0].split(":")[0] for line in found}
    assert seen >= {"exit code said", "verdict", "tables", "junit", "samples.csv"}
