"""The scaling model: its formulas by hand for small numbers, its counts against the code they are counted
from."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from bench.gpu_rates import PRESETS, GpuRates
from bench.loss_memory import peak_extra_bytes
from bench.loss_record import LossTiming
from bench.record import read_records
from bench.rivals import official_loss
from bench.scaling import check, predict, scaling
from bench.scaling_cost import official_cost, our_cost, our_plan
from bench.scaling_record import OFFICIAL, OURS, LossPrediction
from vicreg_fast.loss import plan_loss, vicreg_loss

BF16, FP32 = torch.bfloat16, torch.float32

ROUND = GpuRates(
    name="round",
    matmul_tflops={"float16": 100, "bfloat16": 100, "tf32": 50, "float32": 10, "float64": 5},
    memory_gbytes=1000,
    link_gbytes=100,
    latency_us=5,
    kernel_us=2,
    capacity_gbytes=80,
)
"""Rates that a reader can divide by."""


def pair(
    n: int, D: int, W: int, dtype: torch.dtype = BF16, **options
) -> tuple[LossPrediction, LossPrediction]:
    ours, official = scaling([W], ROUND, n=n, D=D, dtype=dtype, **options)
    assert (ours.provider, official.provider) == (OURS, OFFICIAL)
    return ours, official


class Traffic(TorchDispatchMode):
    """Counts the kernels of operators that are no views, and each matrix that they read or write.

    An expanded factor is read once an entry of its memory. slice_backward is its zeros and its copy.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kernels = 0
        self.moved: dict[str, list[tuple[int, int]]] = {"product": [], "elementwise": []}
        """(entries, bytes) of each."""

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = operator(*args, **kwargs)
        name = operator.overloadpacket.__name__
        if operator.is_view or name in ("_unsafe_view", "empty", "new_empty", "empty_like"):
            return result
        read = tree_leaves((args, {key: value for key, value in kwargs.items() if key != "out"}))
        if kwargs.get("beta") == 0:
            read = read[1:]  # what would be added is not read
        moved = [t for t in (*read, *tree_leaves(result)) if isinstance(t, Tensor)]
        if name == "slice_backward":
            moved.append(result)
        self.kernels += 1 + (name == "slice_backward")
        kind = "product" if name in ("mm", "baddbmm") else "elementwise"
        for tensor in moved:
            size = min(tensor.numel() * tensor.itemsize, tensor.untyped_storage().nbytes())
            self.moved[kind].append((size // tensor.itemsize, size))
        return result

    def passes(self, kind: str, entries: int) -> int:
        """How often a matrix of so many entries, give or take a tenth, was read or written."""
        return sum(abs(size - entries) <= 0.1 * entries for size, _ in self.moved[kind])

    def bytes(self, kind: str) -> int:
        return sum(size for _, size in self.moved[kind])


def traffic_of(
    loss: Callable[[Tensor, Tensor], Tensor], N: int, D: int, dtype: torch.dtype = FP32
) -> Traffic:
    x, y = (torch.randn(N, D, dtype=dtype, requires_grad=True) for _ in range(2))
    with Traffic() as counted:
        torch.autograd.grad(loss(x, y), (x, y))
    return counted


def test_the_authors_passes_and_kernels_are_those_of_their_code() -> None:
    N, D = 8, 64
    counted = traffic_of(official_loss, N, D)
    cost = official_cost(N, D, 1, FP32)
    assert counted.kernels == cost.kernels == 102
    square, tall = counted.passes("elementwise", D * D), counted.passes("elementwise", N * D)
    assert square == 2 * 23
    assert tall == 2 * (22 + 7)
    assert cost.elementwise_bytes == 4 * (square * D * D + tall * N * D)
    square, tall = counted.passes("product", D * D), counted.passes("product", N * D)
    assert cost.product_bytes == 4 * (square * D * D + tall * N * D)


@pytest.mark.parametrize("dtype", [FP32, BF16])
@pytest.mark.parametrize(
    ("form", "N", "D"), [("gram", 96, 1024), ("covariance", 1024, 96), ("gram", 256, 256)]
)
def test_our_passes_and_kernels_are_those_of_our_code(form: str, N: int, D: int, dtype: torch.dtype) -> None:
    """To a tenth: rows of D entries are left out of the model."""
    counted = traffic_of(partial(vicreg_loss, form=form, backend="torch"), N, D, dtype)
    cost = our_cost(our_plan(N, D, 1, dtype, form=form, backend="torch"), N, D, 1, dtype)
    assert counted.bytes("product") == pytest.approx(cost.product_bytes, rel=0.1)
    assert counted.bytes("elementwise") == pytest.approx(cost.elementwise_bytes, rel=0.1)
    assert counted.kernels == pytest.approx(cost.kernels, rel=0.1)


@pytest.mark.parametrize(("n", "D"), [(4, 16), (32, 8)])
def test_the_authors_operations_are_what_torch_counts(n: int, D: int) -> None:
    x, y = (torch.randn(n, D, requires_grad=True) for _ in range(2))
    with FlopCounterMode(display=False) as counter:
        official_loss(x, y).backward()
    assert sum(official_cost(n, D, 1, FP32).flops.values()) == counter.get_total_flops() == 12 * n * D * D


@pytest.mark.parametrize(("N", "D"), [(16, 512), (512, 16), (256, 256), (128, 512)])
def test_the_peaks_are_those_of_the_allocator(N: int, D: int) -> None:
    def peak(loss: Callable[[Tensor, Tensor], Tensor]) -> int:
        x, y = (torch.randn(N, D, requires_grad=True) for _ in range(2))
        return peak_extra_bytes(loss, x, y)

    assert peak(official_loss) == pytest.approx(official_cost(N, D, 1, FP32).peak_bytes, rel=0.05)
    plan = our_plan(N, D, 1, FP32, backend="torch")
    ours = peak(partial(vicreg_loss, form=plan.form, backend="torch"))
    assert ours == pytest.approx(our_cost(plan, N, D, 1, FP32).peak_bytes, rel=0.2)


@pytest.mark.parametrize(("n", "D", "dtype"), [(256, 8192, BF16), (256, 128, FP32), (64, 64, torch.float16)])
@pytest.mark.parametrize("backend", ["torch", "triton"])
def test_one_rank_is_the_plan_and_exchanges_nothing(n: int, D: int, dtype: torch.dtype, backend: str) -> None:
    ours, official = pair(n, D, 1, dtype, backend=backend)
    plan = plan_loss(n, n, D, dtype, "cuda", 1, backend=backend)
    assert (ours.form, ours.backend, ours.exchange) == (plan.form, plan.backend, "none")
    assert ours.flops == plan.flops
    for prediction in (ours, official):
        assert prediction.exchange_bytes == prediction.exchange_seconds == 0


def test_the_headline_shape_by_hand() -> None:
    """n = 256, D = 8192, 8 ranks, bfloat16 on Triton: N = 2048."""
    ours, official = pair(256, 8192, 8, backend="triton")
    e, m, stack = 256 * 2048, 8192**2, 2048 * 8192  # Gram rows, a D×D matrix, a whole view
    local = 256 * 8192
    assert ours.flops == 2 * 4 * 256 * 2048 * 8192 == 34_359_738_368
    assert official.flops == 2 * 6 * 2048 * 8192**2 == 1_649_267_441_664
    assert ours.exchange_bytes == 2 * 7 * local * 2 == 58_720_256
    assert official.exchange_bytes == 3 * ours.exchange_bytes

    assert ours.products_seconds == pytest.approx(34_359_738_368 / 100e12)
    assert official.products_seconds == pytest.approx(1_649_267_441_664 / 100e12)
    ours_products = 2 * (2 * e * 2 + (local + 2 * stack) * 2 + local * 2)
    ours_rest = 2 * (3 * stack + 3 * local) * 2 + 2 * 2 * local * 2
    assert ours.memory_bytes == ours_products + ours_rest
    assert ours.elementwise_seconds == pytest.approx(ours_rest / 1e12)
    official_rest = 2 * (23 * m + 27 * stack + 7 * local) * 2
    assert official.elementwise_seconds == pytest.approx(official_rest / 1e12)
    assert ours.launch_seconds == pytest.approx((5 + 8) * 2e-6)
    assert official.launch_seconds == pytest.approx((102 + 2 * (8 + 2)) * 2e-6)
    # A gather of 7 steps and a scalar sum of 3; theirs: two gathers of 7 and two sums of 14.
    assert ours.exchange_seconds == pytest.approx(10 * 5e-6 + 58_720_256 / 100e9)
    assert official.exchange_seconds == pytest.approx(42 * 5e-6 + 3 * 58_720_256 / 100e9)
    # (16.493 + 8.045 + 0.244 + 1.972 ms) over (0.344 + 0.243 + 0.026 + 0.637 ms)
    assert official.seconds / ours.seconds == pytest.approx(26.753 / 1.250, rel=1e-3)
    least = 2 * (
        2048 * 2049 * 8192 + 2 * 2048 * 2048 * 8192
    )  # half of a symmetric product, and one that is not
    assert ours.floor_seconds == official.floor_seconds == pytest.approx(least / 8 / 100e12)
    assert ours.floor_seconds < ours.products_seconds


def test_doubling_the_ranks_doubles_what_is_gathered() -> None:
    for W in (2, 8, 64):
        small, large = pair(4, 4096, W)[0], pair(4, 4096, 2 * W)[0]
        assert small.exchange == large.exchange == "gather"
        assert large.exchange_bytes * (W - 1) == small.exchange_bytes * (2 * W - 1)


def test_a_reduced_matrix_is_joined_by_the_moments() -> None:
    n, D, W = 256, 64, 8
    ours, _ = pair(n, D, W, FP32)
    plan = plan_loss(n, n * W, D, FP32, "cuda", W)
    assert ours.exchange == plan.exchange == "reduce"
    assert ours.exchange_bytes == plan.exchange_bytes + 7 * 6 * D * 4
    assert ours.exchange_seconds == pytest.approx((7 + 14 + 3) * 5e-6 + ours.exchange_bytes / 100e9)


def test_the_exchange_crosses_over_where_the_plan_says() -> None:
    """bfloat16 rows against float32 sums: 2·(W−1)·n·D·2 bytes reach 4·(W−1)/W·D²·4 where W·n = 4·D."""
    n, D = 256, 8192
    exchanges = {W: pair(n, D, W)[0].exchange for W in (1, 2, 64, 128, 256, 4096)}
    assert exchanges == {1: "none", 2: "gather", 64: "gather", 128: "reduce", 256: "reduce", 4096: "reduce"}


def test_more_ranks_never_cost_less_and_better_rates_never_cost_more() -> None:
    predictions = scaling([2**k for k in range(13)], ROUND, n=256, D=8192, dtype=BF16)
    for provider in (OURS, OFFICIAL):
        mine = [p for p in predictions if p.provider == provider]
        for small, large in pairwise(mine):
            assert large.exchange_seconds > small.exchange_seconds
            if large.exchange == small.exchange:
                assert large.seconds > small.seconds
                assert large.flops >= small.flops
    plan = our_plan(256, 8192, 8, BF16)
    slow = predict(our_cost(plan, 256, 8192, 8, BF16), ROUND, provider=OURS, n=256, D=8192, W=8, dtype=BF16)
    for change in (
        {"link_gbytes": 200.0},
        {"latency_us": 1.0},
        {"memory_gbytes": 2000.0},
        {"kernel_us": 1.0},
        {"matmul_tflops": {rate: 2 * tflops for rate, tflops in ROUND.matmul_tflops.items()}},
    ):
        rates = GpuRates(**{**vars(ROUND), **change})
        fast = predict(
            our_cost(plan, 256, 8192, 8, BF16), rates, provider=OURS, n=256, D=8192, W=8, dtype=BF16
        )
        assert fast.seconds < slow.seconds, change


def test_products_run_at_the_rate_of_their_factors() -> None:
    """torch's backend widens half precision; Triton's float16 stores its product in float32."""

    def rates(dtype: torch.dtype, backend: str, *, tf32: bool = False) -> set[str]:
        return set(
            our_cost(our_plan(256, 8192, 1, dtype, backend=backend), 256, 8192, 1, dtype, tf32=tf32).flops
        )

    assert rates(BF16, "torch") == rates(FP32, "torch") == {"float32"}
    assert rates(FP32, "torch", tf32=True) == {"tf32"}
    assert rates(BF16, "triton") == {"bfloat16"}
    assert rates(torch.float16, "triton") == {"float16", "tf32"}
    assert set(official_cost(256, 8192, 1, torch.float16).flops) == {"float16"}


def test_a_sum_over_ranks_falls_back_to_torch() -> None:
    assert pair(256, 64, 8, BF16, backend="triton")[0].backend == "torch"
    assert pair(256, 64, 1, BF16, backend="triton")[0].backend == "triton"


def test_presets_are_whole() -> None:
    assert set(PRESETS) == {"h100-nvlink", "h100-ib", "a100"}
    for name, rates in PRESETS.items():
        assert rates.name == name
        assert all(value > 0 for value in rates.flat().values() if not isinstance(value, str))
    assert PRESETS["h100-nvlink"].matmul_tflops["bfloat16"] == pytest.approx(790, rel=0.01)


def timing(provider: str, seconds: float, **changes) -> LossTiming:
    fields = {"form": "gram", "backend": "torch", "dtype": "float32", "device": "cuda", "n": 256, "d": 2048}
    fields |= {"calls_per_sample": 1, "pid": 1, "round": 0, "seconds": (seconds, 9.0, seconds)}
    return LossTiming(provider=provider, **{**fields, **changes})


def test_only_measurements_on_a_gpu_are_checked_against() -> None:
    official, gram = pair(256, 2048, 1, FP32)[1], pair(256, 2048, 1, FP32)[0]
    found = check(
        [
            timing("official", 2 * official.seconds, form="covariance"),
            timing("gram", gram.seconds / 2),
            timing("gram", 1.0, device="cpu"),
            timing("gram", 1.0, phase="forward"),
            timing("lightly", 1.0),
        ],
        ROUND,
    )
    assert [one.timing.provider for one in found] == ["official", "gram"]
    assert [one.ratio for one in found] == pytest.approx([2, 0.5])


def test_the_model_orders_the_published_cpu_timings() -> None:
    """Rates of two CPU cores, rounded: the order, and the ratio to the authors' code to a factor of three."""
    tflops = {**ROUND.matmul_tflops, "float32": 0.1}
    rates = GpuRates(**{**vars(ROUND), "matmul_tflops": tflops, "memory_gbytes": 10, "kernel_us": 5})
    root = Path(__file__).parents[2]
    records, _ = read_records(root / "reports" / "published" / "2026-11-22-cpu" / "loss-three.jsonl")
    timings = [record for record in records if isinstance(record, LossTiming)]
    assert timings
    on_cuda = [timing.model_copy(update={"device": "cuda"}) for timing in timings]
    for d in (2048, 8192):
        found = {one.timing.provider: one for one in check(on_cuda, rates) if one.timing.d == d}
        by_model = sorted(found, key=lambda name: found[name].predicted.seconds)
        by_clock = sorted(found, key=lambda name: found[name].measured_seconds)
        assert by_model == by_clock == ["gram", "covariance", "official"]
        predicted = found["official"].predicted.seconds / found["gram"].predicted.seconds
        measured = found["official"].measured_seconds / found["gram"].measured_seconds
        assert 1 / 3 < predicted / measured < 3
