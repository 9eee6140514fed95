"""The suite of loss kernels: its yardstick, its counts, its times, and the process that makes them."""

import hashlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch
from torch import Tensor

from bench.regression_base import CHECKOUT
from bench.regression_server import SideError, SideServer
from bench.suite_loss import naive, times
from bench.suite_loss.cases import CPU_CASES, CUDA_CASES, Case, case_names, cases, timed_names
from bench.suite_loss.counts import count_call
from bench.suite_loss.server import carry_out
from tests.processes import wait_for, wait_until_gone
from vicreg_fast.loss import closed_form
from vicreg_fast.loss.operator import options_text
from vicreg_fast.loss.presets import Objective, preset_named
from vicreg_fast.loss.reference import vicreg_reference

CPU = torch.device("cpu")
NAIVE_SHA256 = "2613a8f6e96a1c6a48fabe0be91848a79ad5fd2f49ddcbf235f81d842327289c"
SMALL = Case(form="gram", n=16, d=48)
ORDER = {"device": "cpu", "threads": 1, "clock": "cpu"}


def test_the_yardstick_has_not_changed() -> None:
    """Times of all revisions are ratios to it. Who has to change it makes every stored base worthless."""
    assert hashlib.sha256(Path(naive.__file__).read_bytes()).hexdigest() == NAIVE_SHA256


@pytest.mark.parametrize("loss", [naive.naive_gram_loss, naive.naive_covariance_loss])
@pytest.mark.parametrize("case", [SMALL, Case(form="covariance", n=48, d=16)], ids=["wide", "tall"])
def test_the_yardstick_is_the_loss(loss: naive.Callable[[Tensor, Tensor], Tensor], case: Case) -> None:
    x, y = case.views(CPU)
    value = loss(x, y)
    oracle = vicreg_reference(x, y)
    assert isinstance(oracle, Tensor)
    assert float(value.detach()) == pytest.approx(float(oracle.detach()), rel=1e-5)
    for ours, theirs in zip(
        torch.autograd.grad(value, (x, y)), torch.autograd.grad(oracle, (x, y)), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("device_type", ["cpu", "cuda"])
def test_every_case_has_a_name_of_its_own(device_type: str) -> None:
    every = CUDA_CASES if device_type == "cuda" else CPU_CASES
    assert len(cases(device_type)) == len(every)
    assert set(timed_names(device_type)) <= set(case_names(device_type))
    assert timed_names(device_type)
    assert Case(form="gram", n=256, d=2048).name == "gram-256x2048-float32"
    assert (
        Case(form="auto", n=2, d=3, backend="graphed", dtype="bfloat16").name == "auto-graphed-2x3-bfloat16"
    )
    assert Case(form="auto", n=512, d=512).naive is naive.naive_covariance_loss
    assert Case(form="auto", n=256, d=512).naive is naive.naive_gram_loss


def test_counts_are_the_same_again_and_what_the_formulas_say() -> None:
    x, y = SMALL.views(CPU)
    loss = SMALL.build(CPU)
    counts = count_call(loss, x, y)
    assert count_call(loss, x, y) == counts
    n, D = x.shape
    assert counts["flops"] == 2 * 2 * 2 * n * n * D  # two views, two products, a multiply and an add
    assert counts["saved-bytes"] == 2 * n * D * 4  # the gradient of both views
    assert counts["peak-bytes"] < counts["allocated-bytes"]


def test_a_buffer_that_is_planted_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """D×D, allocated and let go in the middle of the forward, where less is held than at the peak."""
    x, y = SMALL.views(CPU)
    loss = SMALL.build(CPU)
    before = count_call(loss, x, y)
    gram_covariance = closed_form.gram_covariance

    def wasteful(centred: Tensor, *arguments: object) -> tuple[Tensor, Tensor]:
        torch.empty(centred.shape[-1], centred.shape[-1])
        return gram_covariance(centred, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(closed_form, "gram_covariance", wasteful)
    after = count_call(loss, x, y)
    assert after["allocated-bytes"] == before["allocated-bytes"] + 4 * SMALL.d**2
    assert after["operators"] == before["operators"] + 1
    assert after["flops"] == before["flops"]


def test_what_runs_inside_of_a_custom_operator_is_counted() -> None:
    x, y = SMALL.views(CPU)
    options = options_text(Objective(preset=preset_named("official")), "gram", "torch")

    def through_operator(a: Tensor, b: Tensor) -> Tensor:
        loss: Tensor = torch.ops.vicreg_fast.loss(a, b, options, "", True, True)[0]
        return loss

    counts = count_call(through_operator, x, y)
    eager = count_call(SMALL.build(CPU), x, y)
    assert counts["flops"] == eager["flops"]
    assert counts["operators"] >= eager["operators"] - 5


def test_a_window_is_filled_by_the_quickest_call(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([9.0, *[0.004] * 5, 0.001, *[0.003] * 4, 9.0, *[0.02] * 10])
    monkeypatch.setattr(times, "time_window", lambda *_: next(seconds))
    assert times.judge_calls(SMALL, CPU, "cpu") == (5, 1)


def test_pairs_are_times_of_both_also_in_a_last_block_that_is_short() -> None:
    timed = times.time_pairs(SMALL, CPU, "cpu", calls=2, naive_calls=1, pairs=times.BLOCK + 3)
    assert len(timed.seconds) == len(timed.naive_seconds) == times.BLOCK + 3
    assert all(seconds > 0 for seconds in (*timed.seconds, *timed.naive_seconds))


def test_a_case_that_raises_is_a_problem_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(case: Case, device: torch.device) -> None:
        raise RuntimeError("it is\nbroken")

    monkeypatch.setattr(Case, "build", broken)
    names = [{"name": name} for name in (*case_names("cpu")[:1], "none")]
    first, second = (a for a in carry_out({**ORDER, "do": "count", "cases": names}) if "case" in a)
    assert first["problem"] == "RuntimeError: it is"
    assert second["problem"] == "KeyError: 'none'"


@pytest.fixture(scope="module")
def server() -> Iterator[SideServer]:
    with SideServer("head", head=CHECKOUT, subject=CHECKOUT, cases=None, threads=1) as side:
        yield side


def test_a_server_forks_a_fresh_process_for_each_order(server: SideServer) -> None:
    described = server.ask({**ORDER, "device": "auto", "do": "describe"})
    assert tuple(described["cases"]) == case_names(described["device"])
    name = timed_names("cpu")[-1]
    case = {"name": name, "calls": 1, "naive_calls": 1}
    pids = set()
    for _ in range(2):
        (answer,) = server.ask_cases({**ORDER, "do": "time", "cases": [case], "pairs": 2})
        assert answer["case"] == name
        assert len(answer["seconds"]) == len(answer["naive_seconds"]) == 2
        pids.add(answer["pid"])
    assert len(pids) == 2
    assert psutil.Process(server.pid).num_threads() == 1, (
        "a fork takes one thread with it: the server may have no other"
    )


def test_a_process_that_dies_is_told_with_its_case_and_the_next_one_goes_on(server: SideServer) -> None:
    endless = {"name": timed_names("cpu")[0], "calls": 10**9, "naive_calls": 1}
    quick = {"name": timed_names("cpu")[-1], "calls": 1, "naive_calls": 1}
    answers = server.ask_cases({**ORDER, "do": "time", "cases": [quick, endless, quick], "pairs": 1})
    assert "problem" not in next(answers)
    (child,) = psutil.Process(server.pid).children()
    os.kill(child.pid, signal.SIGKILL)
    died = next(answers)
    assert died["case"] == endless["name"]
    assert died["problem"] == "its process ended with exit code -9"
    assert server.ask({**ORDER, "do": "describe"})["cases"]


def test_the_end_of_the_connection_ends_server_and_child(server: SideServer) -> None:
    """Last: it closes the server."""
    endless = {"name": timed_names("cpu")[0], "calls": 10**9, "naive_calls": 1}
    server.send({**ORDER, "do": "time", "cases": [endless], "pairs": 1})
    parent = psutil.Process(server.pid)
    wait_for(lambda: bool(parent.children()))
    (child,) = parent.children()
    server.close()
    wait_until_gone(child.pid, parent.pid)


def test_a_checkout_that_cannot_be_imported_is_told_in_one_line(tmp_path: Path) -> None:
    package = tmp_path / "vicreg_fast"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('there is a hole')\n")
    with (
        SideServer("base", head=CHECKOUT, subject=tmp_path, cases=None, threads=1) as side,
        pytest.raises(SideError, match="base: ImportError: there is a hole"),
    ):
        side.ask({**ORDER, "do": "describe"})
