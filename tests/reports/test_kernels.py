"""The kernels of a profile in the report of losses, and in a proof's beside the claims that fall short."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from bench.loss_record import KernelShare, LossProfile
from reports.kernels import loss_kernel_tables, trace_kernel_table
from reports.loss_render import render_loss_html, render_loss_markdown
from reports.proof_judge import judge_proof
from reports.proof_profile import profile_tables
from reports.proof_render import render_proof_html, render_proof_markdown
from tests.reports.loss_runs import LossRun
from tests.reports.proof_runs import ProofRun, trace


def profile(**changes: Any) -> LossProfile:
    """Ten calls of 1 ms, of which one kernel takes 0.6, another 0.2, and nothing runs in the rest."""
    fields: dict[str, Any] = {
        "provider": "auto", "dtype": "bfloat16", "device": "cuda", "n": 256, "d": 8192, "calls": 10,
        "seconds": 0.01, "busy_seconds": 0.008,
        "kernels": (
            KernelShare(name="gram_kernel", calls=20, seconds=0.006),
            KernelShare(name="gradient_kernel", calls=10, seconds=0.002),
        ),
    }  # fmt: skip
    return LossProfile(**{**fields, **changes})


def traced(folder: Path, seconds: float = 0.5) -> Path:
    """Five steps in which `conv` runs twice a step for a tenth of `seconds`, and then nothing."""
    file = folder / trace("fast", 0.9).file
    file.parent.mkdir(parents=True)
    kernels = [
        {"ph": "X", "cat": "kernel", "name": "conv", "ts": 1e6 * seconds * n / 10, "dur": 1e5 * seconds}
        for n in range(9)
    ]
    copy = {"ph": "X", "cat": "gpu_memcpy", "name": "Memcpy HtoD", "ts": 0.95e6 * seconds}
    with gzip.open(file, "wt", encoding="utf-8") as out:
        json.dump({"traceEvents": [*kernels, copy | {"dur": 0.05e6 * seconds}]}, out)
    return file


def test_a_loss_is_shown_by_kernel_with_its_gaps(tmp_path: Path) -> None:
    (table,) = loss_kernel_tables([profile()])
    assert table.title == "Where 1.00 ms go: auto at 256 × 8192, bfloat16, a call"
    assert table.rows == (
        ("gram_kernel", "2.00", "0.60", "60.0 %"),
        ("gradient_kernel", "1.00", "0.20", "20.0 %"),
        ("gaps", "–", "0.20", "20.0 %"),
    )
    losses = LossRun(tmp_path / "l.jsonl", "official", "auto").timed({"official": 2.0, "auto": 1.0})
    losses.records.append(profile())
    report = losses.report()
    assert report.records[-1] == profile()
    assert table.title in render_loss_html(report)
    assert table.title in render_loss_markdown(report)


def test_many_kernels_are_cut_and_added_up() -> None:
    kernels = tuple(KernelShare(name=f"k{n}", calls=10, seconds=0.0005) for n in range(16))
    (table,) = loss_kernel_tables([profile(kernels=kernels)])
    assert len(table.rows) == 14
    assert table.rows[-2] == ("4 others", "4.00", "0.20", "20.0 %")


@pytest.mark.parametrize("changes", [{"seconds": 0.0}, {"calls": 0}, {"seconds": float("nan")}])
def test_a_profile_of_nothing_has_no_table(changes: dict[str, Any]) -> None:
    assert loss_kernel_tables([profile(**changes)]) == ()


def test_a_traced_step_is_shown_by_kernel(tmp_path: Path) -> None:
    traced(tmp_path)
    table = trace_kernel_table(trace("fast", 0.9), tmp_path)
    assert table is not None
    assert table.title == "Where 100 ms go: vicreg-fast, a traced step"
    assert table.rows == (
        ("conv", "1.80", "90.0", "90.0 %"),
        ("Memcpy HtoD", "0.20", "5.00", "5.0 %"),
        ("gaps", "–", "5.00", "5.0 %"),
    )
    elsewhere = trace("fast", 0.9).model_copy(
        update={"file": f"../{tmp_path.name}/{trace('fast', 0.9).file}"}
    )
    (tmp_path / "inside").mkdir()
    assert trace_kernel_table(elsewhere, tmp_path / "inside") is None


def test_a_proof_shows_the_profiles_of_what_falls_short(tmp_path: Path) -> None:
    run = ProofRun(tmp_path).losses(small=12).comparisons(fast=1250, busy=0.8)
    run.add(profile(), profile(n=2048), part="loss")
    file = traced(tmp_path / "compare")
    titles = [table.title for table in profile_tables(judge_proof(tmp_path))]
    assert titles == [
        "Where 1.00 ms go: auto at 256 × 8192, bfloat16, a call",
        "Where a step's time goes: compare",
        "Where 100 ms go: vicreg-fast, a traced step, compare",
    ]
    file.write_bytes(b"torn")
    proof = judge_proof(tmp_path)
    pages = render_proof_html(proof), render_proof_markdown(proof)
    (problem,) = proof.source.problems
    assert problem.startswith("compare: compare/traces/fast/")
    assert all("1 problem with the records, listed below." in page for page in pages)
