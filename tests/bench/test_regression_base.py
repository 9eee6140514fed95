"""What a regression run can be compared with: revisions, records, and pytest-benchmark's JSON."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bench.record import Environment
from bench.regression_base import RevisionBase, StoredBase, extract, find_base, fingerprint, head_commit
from bench.regression_kernels import kernel_gates, static_records
from bench.regression_record import RegressionGate, RegressionPlan, RegressionSample
from vicreg_fast.errors import BaselineError

CASES_SOURCE = "def case_names(device_type): return ('gram',)\n"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two commits: `old` has no loss, HEAD has one, a suite and a static record."""
    folder = tmp_path_factory.mktemp("checkout")

    def git(*words: str) -> None:
        who = ("-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)

    git("init", "--quiet")
    (folder / "README").write_text("no loss yet\n")
    git("add", "."), git("commit", "--quiet", "-m", "begin"), git("tag", "old")
    for name, text in {
        "vicreg_fast/__init__.py": "",
        "vicreg_fast/loss/__init__.py": "value = 1\n",
        "bench/suite_loss/cases.py": CASES_SOURCE,
        "bench/static/triton-3.9.0.json": "{}",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git("add", "."), git("commit", "--quiet", "-m", "a loss")
    (folder / "vicreg_fast/loss/__init__.py").write_text("value = 2\n")
    return folder


def refused(against: str | Path, checkout: Path, *words: str) -> None:
    with pytest.raises(BaselineError) as caught:
        find_base(str(against), checkout)
    assert caught.value.exit_code == 5
    assert "\n" not in str(caught.value)
    for word in ("--against", *words):
        assert word in str(caught.value)


def test_a_revision_is_extracted_as_it_was_committed(checkout: Path, tmp_path: Path) -> None:
    base = find_base("HEAD", checkout)
    assert isinstance(base, RevisionBase)
    assert len(base.commit) == 40
    found = extract(base, tmp_path)
    assert (found.subject / "vicreg_fast/loss/__init__.py").read_text() == "value = 1\n"
    assert [path.name for path in found.subject.iterdir()] == ["vicreg_fast"]
    assert found.cases is not None
    assert found.cases.read_text() == CASES_SOURCE
    assert found.kernels == {"3.9.0": "{}"}


def test_what_is_no_base_is_refused_in_one_line(checkout: Path, tmp_path: Path) -> None:
    refused("no-such-branch", checkout, "no-such-branch", "neither a file nor a revision", "--unshallow")
    refused("--help", checkout, "neither a file nor a revision")
    refused("HEAD:README", checkout, "neither")  # an object, and no commit
    refused("gone.json", checkout, "no such file")
    refused("HEAD", tmp_path, "not in a git checkout")
    old = find_base("old", checkout)
    assert isinstance(old, RevisionBase)
    with pytest.raises(BaselineError, match="old: this revision has no vicreg_fast/loss"):
        extract(old, tmp_path)
    assert head_commit(tmp_path) is None


def test_a_file_that_holds_no_run_is_refused_with_its_reason(checkout: Path, tmp_path: Path) -> None:
    file = tmp_path / "base.jsonl"
    for content, words in {
        b"": ("holds no run",),
        b"not json\n": ("line 1", "not a whole JSON object"),
        b'{"schema_version": 2, "kind": "regression-plan"}\n': ("newer than this version reads",),
        b'{"benchmarks": []}': ("none of its benchmarks is of bench/suite_loss",),
        b"\xff\xfe": ("not UTF-8",),
    }.items():
        file.write_bytes(content)
        refused(file, checkout, *words)


def write_run(file: Path, torn: str = "") -> None:
    here = {"torch": "2.15.0"}
    plan = RegressionPlan(
        command="vicreg-fast", against="main", source="revision", base_commit="b", head_commit="4",
        base_fingerprint=here, head_fingerprint=here, base_cases=("gram",), head_cases=("gram",),
        device="cpu", threads=1, rounds=2, pairs=1, least_tau=0.03,
    )  # fmt: skip
    sides: tuple[Any, ...] = ("base", "head", "control")
    samples = [
        RegressionSample(
            case="gram", side=side, round=0, position=0, attempt=attempt, pid=1, calls=1, naive_calls=1,
            seconds=(0.1 + place,), naive_seconds=(0.2,),
        )
        for place, side in enumerate(sides) for attempt in (0, 1)
    ]  # fmt: skip
    gate = RegressionGate(case="gram", quantity="operators", base=3, head=4)
    lines = [json.dumps(record.model_dump(mode="json")) for record in (plan, gate, *samples)]
    file.write_text("\n".join([*lines, torn]))


def test_the_head_of_an_earlier_run_is_the_base(checkout: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "records.jsonl")
    for name in (tmp_path, tmp_path / "records.jsonl"):
        base = find_base(str(name), checkout)
        assert isinstance(base, StoredBase)
        assert (base.name, base.source, base.commit) == ("records.jsonl", "records", "4")
        assert base.counts == {"gram": {"operators": 4}}
        (sample,) = base.samples  # of the head's, none of the confirming run
        assert (sample.side, sample.seconds) == ("base", (1.1,))


def test_of_a_torn_file_the_rest_is_kept_and_the_line_is_named(checkout: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "records.jsonl", torn='{"kind": "regr')
    base = find_base(str(tmp_path), checkout)
    assert isinstance(base, StoredBase)
    assert len(base.samples) == 1
    assert "torn write" in base.problems[0]


def benchmark(subject: str, data: list[float] | None, **info: Any) -> dict[str, Any]:
    extra = {
        "case": "gram", "subject": subject, "calls": 2, "other_calls": 4, "pid": 5,
        "beside_seconds": [0.2, 0.25], "fingerprint": {"torch": "2.15.0"}, **info,
    }  # fmt: skip
    stats = {"min": 1.0} if data is None else {"min": 1.0, "data": data}
    return {"name": f"test_loss[{subject}-gram]", "extra_info": extra, "stats": stats}


def test_pytest_benchmarks_json_is_one_process_of_the_base(checkout: Path, tmp_path: Path) -> None:
    """A round of it is a window of `calls` calls."""
    content = {
        "commit_info": {"id": "c0ffee"},
        "benchmarks": [
            {"name": "test_of_others", "extra_info": {}, "stats": {}},
            benchmark("case", [0.2, 0.4], counts={"operators": 31}),
            benchmark("naive", [0.8, 1.0]),
        ],
    }
    file = tmp_path / "base.json"
    file.write_text(json.dumps(content))
    base = find_base(str(file), checkout)
    assert isinstance(base, StoredBase)
    assert (base.source, base.commit, base.cases) == ("pytest-benchmark", "c0ffee", ("gram",))
    assert base.counts == {"gram": {"operators": 31}}
    (sample,) = base.samples
    assert sample.seconds == (0.1, 0.2)
    assert sample.naive_seconds == (0.2, 0.25)
    content["benchmarks"] = [benchmark("case", ["a word"])]  # type: ignore[list-item]
    file.write_text(json.dumps(content))
    refused(file, checkout, "not as pytest-benchmark writes it")
    content["benchmarks"] = [benchmark("case", None)]
    file.write_text(json.dumps(content))
    refused(file, checkout, "no raw times of gram", "--benchmark-json", "--benchmark-save-data")


def test_a_fingerprint_has_what_times_depend_on() -> None:
    environment = Environment(
        processor="A CPU", cores=2, memory_bytes=1, system="Linux", gpu="H100", driver="570",
        versions={"torch": "2.15.0", "python": "3.11.7"},
        environment_variables={"OMP_NUM_THREADS": "8", "MKL_NUM_THREADS": "3"},
    )  # fmt: skip
    on_cpu = fingerprint(environment, device="cpu", threads=1, clock="cpu")
    assert on_cpu == {
        "processor": "A CPU", "cores": "2", "device": "cpu", "gpu": "none", "driver": "none",
        "torch": "2.15.0", "triton": "none", "python": "3.11", "threads": "1", "clock": "cpu",
        "MKL_NUM_THREADS": "3",
    }  # fmt: skip
    on_gpu = fingerprint(environment, device="cuda", threads=1, clock="cuda-events")
    assert (on_gpu["gpu"], on_gpu["driver"]) == ("H100", "570")


def test_kernels_are_compared_figure_by_figure_for_each_triton_version() -> None:
    text = next(iter(static_records(Path(__file__).parents[2]).values()))
    version = json.loads(text)["triton"]
    kernels = json.loads(text)["kernels"]
    (alike,) = kernel_gates({version: text}, {version: text})
    assert (alike.quantity, alike.base, alike.head) == ("kernels-alike", len(kernels), len(kernels))
    assert kernel_gates({version: text}, {"0.0.0": text}) == []
    kernels[0]["registers"] += 8
    kernels[1]["kernel"] = "renamed_kernel"
    grown = json.dumps({**json.loads(text), "kernels": kernels})
    gates = kernel_gates({version: text}, {version: grown})
    assert (
        sum(
            gate.quantity == "registers" and gate.base is not None and gate.head is not None for gate in gates
        )
        == 1
    )
    assert {(gate.base is None, gate.head is None) for gate in gates} == {
        (False, False), (True, False), (False, True),
    }  # fmt: skip
    with pytest.raises(BaselineError, match="not a record of compiled kernels"):
        kernel_gates({version: "{}"}, {version: text})
