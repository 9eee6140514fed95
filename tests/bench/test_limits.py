"""The work of a step, counted by hand; its floor; and what a traced step leaves behind."""

import dataclasses
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.profiler import record_function

from bench import roofline
from bench.energy import open_meter
from bench.limits import best_ceiling, step_floor, utilisation
from bench.limits_record import StepWork
from bench.loss_record import Ceiling
from bench.scenarios import build_scenario
from bench.step_work import (
    _Counting,
    loss_least_flops,
    network_flops,
    product_dtype,
    step_work,
)
from bench.trace import folder_name, record_trace
from bench.worker import gpu_uuid
from pipelines.contract import ViewBatch
from vicreg_fast.config import Recipe, load_recipe
from vicreg_fast.errors import CheckpointError
from vicreg_fast.training.step import TrainingStep
from vicreg_fast.training.trace_summary import OUTSIDE, PHASES

CPU = torch.device("cpu")
TINY = load_recipe(
    "smoke",
    [
        "width=4",
        "stem=imagenet",
        "image_size=32",
        "expander=16-24",
        "batch_size=8",
        "workers=1",
        "precision=fp32",
    ],
)

# Channels in and out, kernel's side, side of what comes out, of every convolution of a resnet10 of width 4 on
# 32×32 pixels but the first; then the expander 16-24 on its 32 features.
CONVOLUTIONS = (
    *(2 * ((4, 4, 3, 8),)),
    *((4, 8, 3, 4), (8, 8, 3, 4), (4, 8, 1, 4)),
    *((8, 16, 3, 2), (16, 16, 3, 2), (8, 16, 1, 2)),
    *((16, 32, 3, 1), (32, 32, 3, 1), (16, 32, 1, 1)),
)
LINEARS = ((32, 16), (16, 24))
PARAMETERS = (
    3 * 4 * 49
    + sum(i * o * k * k for i, o, k, _ in CONVOLUTIONS)
    + 2 * (4 + 2 * 4 + 3 * 8 + 3 * 16 + 3 * 32)
    + (32 * 16 + 16 + 2 * 16 + 16 * 24)
)


def by_hand(images: int) -> int:
    """Forward, the gradient of every weight, and of every input but the images."""
    first = 2 * 2 * (3 * 4 * 7 * 7 * 16 * 16)
    rest = 3 * 2 * sum(i * o * k * k * side * side for i, o, k, side in CONVOLUTIONS)
    rest += 3 * 2 * sum(i * o for i, o in LINEARS)
    return images * (first + rest)


@pytest.mark.parametrize(
    "changes", [{}, {"accumulate": 2}, {"forward": "joint"}, {"precision": "bf16"}], ids=str
)
def test_the_network_is_counted_as_by_hand(changes: dict[str, Any]) -> None:
    before = torch.get_rng_state()
    assert network_flops(TINY.replace(**changes)) == by_hand(2 * 8)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_least_of_the_loss_is_a_micro_batchs() -> None:
    gram = 2 * (8 * 9 * 24 + 2 * 8 * 8 * 24)
    assert loss_least_flops(TINY) == gram
    assert loss_least_flops(TINY.replace(accumulate=2)) == 2 * 2 * (4 * 5 * 24 + 2 * 4 * 4 * 24)
    covariance = 2 * (4 * 5 * 8 + 2 * 8 * 4 * 4)  # N = 8 rows of D = 4
    assert loss_least_flops(TINY.replace(expander="16-4")) == covariance


def batches(recipe: Recipe) -> list[ViewBatch]:
    rows = recipe.batch_size // recipe.accumulate
    view = torch.arange(rows * 3 * 32 * 32).reshape(rows, 3, 32, 32).remainder(251).to(torch.uint8)
    return [ViewBatch(view, view.flip(0), torch.zeros(rows, dtype=torch.int64))] * recipe.accumulate


def work_of(name: str, recipe: Recipe, *, compiled: bool = False, loss: Any = None) -> StepWork:
    built = build_scenario(name, recipe, CPU)
    step = TrainingStep(
        built.recipe, CPU, steps_per_epoch=1, loss=built.loss, make_optimizer=built.make_optimizer
    )
    if compiled:
        built = dataclasses.replace(built, recipe=built.recipe.replace(compile=True))
    return step_work(dataclasses.replace(built, loss=loss or built.loss), step, batches(recipe))


@pytest.mark.parametrize(
    ("name", "changes", "loss"),
    [
        ("baseline", {"accumulate": 2}, 2 * 2 * 6 * 4 * 24 * 24),  # D×D, whatever the shape
        ("fast", {"accumulate": 2, "precision": "bf16"}, 2 * 2 * 4 * 4 * 4 * 24),  # N×N
        ("fast", {"expander": "16-4"}, 2 * 4 * 8 * 4 * 4),  # D×D, D being the smaller
    ],
    ids=["official", "gram", "covariance"],
)
def test_a_real_step_is_the_networks_products_and_the_losss(
    name: str, changes: dict[str, Any], loss: int
) -> None:
    recipe = TINY.replace(**changes)
    work = work_of(name, recipe)
    assert (work.loss_flops, work.loss_counted) == (loss, "operators")
    assert work.flops == network_flops(recipe) + loss
    assert work.model_flops == network_flops(recipe) + loss_least_flops(recipe)
    assert not work.eager_twin
    assert work.dtype == ("bfloat16" if changes.get("precision") == "bf16" else "float32")


def test_the_least_bytes_are_weights_gradients_state_and_views() -> None:
    work = work_of("baseline", TINY.replace(optimizer="adamw"))
    views = 2 * 8 * 3 * 32 * 32
    assert (work.parameter_bytes, work.gradient_bytes) == (4 * PARAMETERS, 4 * PARAMETERS)
    assert work.optimizer_state_bytes == 2 * 4 * PARAMETERS
    assert work.view_bytes == views
    assert work.least_bytes == 2 * 4 * (1 + 1 + 2) * PARAMETERS + views
    assert work.operator_bytes > work.least_bytes
    momentum = work_of("fast", TINY.replace(optimizer="lars"))
    assert momentum.optimizer_state_bytes == 4 * PARAMETERS


def test_a_loss_in_kernels_the_counter_does_not_know_is_counted_by_its_plan() -> None:
    """And a step that is compiled by its eager twin, whose loss it is: the step handed over is not run."""
    _, terms = build_scenario("fast", TINY, CPU).loss(torch.ones(8, 24), torch.ones(8, 24))
    work = work_of("fast", TINY, compiled=True, loss=lambda x, y: ((x - y).square().sum(), terms))
    assert work.eager_twin
    assert (work.loss_flops, work.loss_counted) == (2 * 4 * 8 * 8 * 24, "formula")


def test_what_operators_move_is_counted_by_hand() -> None:
    x, y = torch.ones(10), torch.ones(10)
    for run, entries in (
        (lambda: x + y, 30),
        (lambda: x.add_(y), 30),
        (lambda: x.copy_(y), 20),
        (lambda: x.zero_(), 10),
        (lambda: torch._foreach_add_([x, y], [y, x]), 60),
        (lambda: x.view(2, 5), 0),
        (lambda: torch.empty(10), 0),
        (lambda: x.sum(), 11),
    ):
        with _Counting() as counted:
            run()
        assert counted.moved_bytes == 4 * entries, entries


def test_the_dtype_is_that_of_the_products() -> None:
    cuda = torch.device("cuda")
    assert product_dtype(TINY, CPU) == "float32"
    assert product_dtype(TINY.replace(precision="bf16"), cuda) == "bfloat16"
    assert product_dtype(TINY.replace(precision="fp16"), cuda) == "float16"
    assert product_dtype(TINY, cuda) == "tf32", "convolutions round float32 on a GPU unless told otherwise"


def ceiling(dtype: str = "float32", flops: float = 1e9, moved: float = 1e9, device: str = "cpu") -> Ceiling:
    return Ceiling(
        dtype=dtype,
        device=device,
        product_size=8,
        flops_per_second=flops,
        copied_bytes=8,
        bytes_per_second=moved,
    )


def test_the_highest_ceiling_counts() -> None:
    found = [ceiling(), ceiling(flops=3e9), ceiling("bfloat16", 9e9, 2e9), ceiling(flops=8e9, device="cuda")]
    best = best_ceiling(found, "float32", "cpu")
    assert best is not None
    assert (best.flops_per_second, best.bytes_per_second) == (3e9, 2e9)
    assert best_ceiling(found, "float16", "cpu") is None


def test_the_floor_of_a_step_is_the_slower_of_the_two() -> None:
    work = work_of("baseline", TINY)
    slow = step_floor(work, ceiling(flops=1e6))
    assert (slow.bound, slow.seconds) == ("compute", pytest.approx(work.model_flops / 1e6))
    slow = step_floor(work, ceiling(moved=1e3))
    assert (slow.bound, slow.seconds) == ("memory", pytest.approx(work.least_bytes / 1e3))
    assert utilisation(work, ceiling(flops=1e6), 2 * work.model_flops / 1e6) == pytest.approx(0.5)


def test_tf32_is_measured_as_such_and_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[torch.dtype, str]] = []

    def measured(dtype: torch.dtype, device: torch.device) -> Ceiling:
        seen.append((dtype, torch.get_float32_matmul_precision()))
        return ceiling(str(dtype).removeprefix("torch."))

    monkeypatch.setattr(roofline, "measure_ceiling", measured)
    found = roofline.measure_ceilings(["float32", "tf32", "bfloat16"], CPU)
    assert [one.dtype for one in found] == ["float32", "tf32", "bfloat16"]
    assert seen == [(torch.float32, "highest"), (torch.float32, "high"), (torch.bfloat16, "highest")]
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.gpu
def test_a_captured_step_is_counted_and_a_gpus_ceilings_are_measured() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    device = torch.device("cuda")
    built = build_scenario("fast", TINY, device)
    step = TrainingStep(
        built.recipe, device, steps_per_epoch=1, loss=built.loss, make_optimizer=built.make_optimizer
    )
    try:
        work = step_work(built, step, batches(TINY))
    finally:
        step.close()
    assert work.eager_twin
    assert work.network_flops == by_hand(2 * 8)
    assert work.loss_flops == 2 * 4 * 8 * 8 * 24
    found = roofline.measure_ceilings(["tf32", "bfloat16"], device)
    assert [one.dtype for one in found] == ["tf32", "bfloat16"]
    assert all(0 < one.flops_per_second < float("inf") for one in found)
    meter, words = open_meter("cuda", gpu_uuid(device))
    assert meter is not None, words
    assert meter.state().sm_clock_mhz


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    x = torch.ones(64, 64)

    def step() -> None:
        for phase in PHASES:
            with record_function(phase):
                x @ x

    folder = tmp_path_factory.mktemp("records")
    return folder, record_trace("fast-dali", step, CPU, folder)


def test_a_scenarios_trace_is_a_folder_of_its_own(traced: tuple[Path, Any]) -> None:
    folder, shares = traced
    assert shares.file == "traces/fast-dali/rank_0.3.pt.trace.json.gz"
    assert [path.name for path in (folder / "traces" / "fast-dali").iterdir()] == [Path(shares.file).name]
    assert shares.steps == 5
    assert set(shares.host) == {*PHASES, OUTSIDE}
    assert sum(shares.host.values()) == pytest.approx(1)
    assert shares.device_work is None
    assert folder_name("../a b/c") == "_a_b_c"
    assert folder_name("..") == "scenario"


def test_a_trace_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "traces").write_text("a file")
    with pytest.raises(CheckpointError, match=r"rank_0\.3\.pt\.trace\.json\.gz: cannot be written"):
        record_trace("fast", lambda: None, CPU, tmp_path)


def test_hta_finds_the_rank_and_perfetto_its_events(traced: tuple[Path, Any]) -> None:
    """HTA takes a folder's files by the rank that each one names, and refuses a file that names none."""
    folder, shares = traced
    with gzip.open(folder / shares.file) as stream:
        trace = json.load(stream)
    assert trace["distributedInfo"]["rank"] == 0
    complete = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert {event["name"] for event in complete} >= set(PHASES)
    assert all({"name", "ts", "dur", "pid", "tid"} <= event.keys() for event in complete)
