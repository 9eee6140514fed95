"""The floor: counted by hand, and below what anything takes."""

from typing import Any

import pytest
import torch

from bench import roofline
from bench.loss_record import PHASES, Ceiling
from bench.roofline import REPEATS, least_work, loss_floor, measure_ceiling
from tests.clock import Clock


def _ceiling(**changes: Any) -> Ceiling:
    fields: dict[str, Any] = {
        "dtype": "float32", "device": "cpu", "product_size": 8, "flops_per_second": 1e9, "copied_bytes": 8,
        "bytes_per_second": 1e9,
    }  # fmt: skip
    return Ceiling(**{**fields, **changes})


def test_the_least_work_of_two_rows_and_three_dimensions() -> None:
    # Gram: two views of 3 inner products of 3 entries, 6 operations each; then 2×2 by 2×3: 24 each.
    assert least_work(2, 3, 4, "forward").flops == 2 * 3 * 6
    assert least_work(2, 3, 4, "forward+backward").flops == 2 * 3 * 6 + 2 * 24
    # Both views read; then both gradients written as well.
    assert least_work(2, 3, 4, "forward").moved_bytes == 2 * 6 * 4
    assert least_work(2, 3, 4, "forward+backward").moved_bytes == 4 * 6 * 4
    assert least_work(2, 3, 2, "backward").moved_bytes == 4 * 6 * 2
    assert least_work(2, 3, 4, "backward").flops == 0


def test_the_form_with_less_work_is_counted() -> None:
    for phase in PHASES:
        assert least_work(3, 2, 4, phase) == least_work(2, 3, 4, phase)
    # Three quarters of the dense products, 4·N²·D a view, as N grows.
    dense = 2 * 4 * 2048**2 * 8192
    assert least_work(2048, 8192, 2, "forward+backward").flops / dense == pytest.approx(0.75, rel=1e-3)


def test_the_floor_is_the_slower_of_the_two_and_says_which() -> None:
    slow_memory = loss_floor(2, 3, "forward+backward", torch.float32, _ceiling(bytes_per_second=1e3))
    assert (slow_memory.bound, slow_memory.seconds) == ("memory", pytest.approx(96 / 1e3))
    slow_products = loss_floor(2, 3, "forward+backward", torch.float32, _ceiling(flops_per_second=1e3))
    assert (slow_products.bound, slow_products.seconds) == ("compute", pytest.approx(84 / 1e3))


def test_the_machines_ceilings_are_measured() -> None:
    ceiling = measure_ceiling(torch.float32, torch.device("cpu"), seconds=1e-3, copied_bytes=2**22)
    assert ceiling.product_size in (256, 512, 1024, 2048, 4096, 8192, 16384)
    assert 0 < ceiling.flops_per_second < float("inf")
    assert 0 < ceiling.bytes_per_second < float("inf")
    assert (ceiling.dtype, ceiling.device, ceiling.copied_bytes) == ("float32", "cpu", 2**22)


def test_products_grow_until_one_takes_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a ceiling is of the last, and of the copy after it: a byte read and a byte written."""
    seconds = iter([0.25, 0.5, 2.0, 4.0])
    monkeypatch.setattr(roofline, "_best", lambda call, device: call() is None or next(seconds))
    ceiling = measure_ceiling(torch.float32, torch.device("cpu"), seconds=1.0, copied_bytes=16)
    assert ceiling.product_size == 1024
    assert ceiling.flops_per_second == 2 * 1024**3 / 2.0
    assert ceiling.bytes_per_second == 2 * 16 / 4.0


def test_the_best_of_several_calls_counts_and_each_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, done = Clock(), []
    seconds = iter([0.5, *range(3 + REPEATS, 3, -1)])  # the first only warms up

    def call() -> None:
        """Returns before the device is done, as on a GPU."""
        done.append("call")

    def wait(_: torch.device) -> None:
        if done and done[-1] == "call":
            clock.sleep(next(seconds))
        done.append("wait")

    monkeypatch.setattr(roofline, "time", clock)
    monkeypatch.setattr(roofline, "_wait", wait)
    assert roofline._best(call, torch.device("cpu")) == 4
    assert done == ["call", *["wait", "call", "wait"] * REPEATS]
