"""The floor: counted by hand, and below what anything takes."""

from typing import Any

import pytest
import torch

from bench.loss_record import PHASES, Ceiling
from bench.roofline import least_work, loss_floor, measure_ceiling


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
    assert ceiling.product_size >= 256
    assert 1e8 < ceiling.flops_per_second < 1e15
    assert 1e7 < ceiling.bytes_per_second < 1e14
    assert (ceiling.dtype, ceiling.device, ceiling.copied_bytes) == ("float32", "cpu", 2**22)
