"""The bytes of a plan's exchange, counted by hand."""

import pytest
import torch

from vicreg_fast.loss import plan_loss


@pytest.mark.parametrize(
    ("n", "W", "D", "dtype", "form", "exchange", "received"),
    [
        # one process
        (6, 1, 41, torch.float32, "gram", "none", 0),
        (64, 1, 8, torch.float32, "covariance", "none", 0),
        # 3 other ranks, 6 rows each, of 41 numbers of 2 bytes, of 2 views
        (6, 4, 41, torch.bfloat16, "gram", "gather", 3 * 6 * 41 * 2 * 2),
        (6, 4, 41, torch.float64, "gram", "gather", 3 * 6 * 41 * 8 * 2),
        # 26 columns: 1 other rank, 11 rows of 26 numbers, against a sum of 26×26 numbers
        (11, 2, 26, torch.float32, "covariance", "gather", 11 * 26 * 4 * 2),
        # ring all-reduce among 4: 3 quarters of the sums to add up, then 3 quarters of those added up
        (63, 4, 8, torch.float32, "covariance", "reduce", 2 * 3 * (8 * 8 // 4) * 4 * 2),
        # half precision is summed in float32
        (63, 4, 8, torch.bfloat16, "covariance", "reduce", 2 * 3 * (8 * 8 // 4) * 4 * 2),
        (63, 2, 8, torch.float64, "covariance", "reduce", 2 * 1 * (8 * 8 // 2) * 8 * 2),
    ],
)
def test_bytes_that_a_rank_receives(
    n: int, W: int, D: int, dtype: torch.dtype, form: str, exchange: str, received: int
) -> None:
    plan = plan_loss(n, W * n, D, dtype, "cpu", W, form=form)
    assert (plan.form, plan.exchange, plan.exchange_bytes) == (form, exchange, received)


def test_the_covariance_form_takes_the_exchange_of_fewer_bytes() -> None:
    """Rows are (W−1)·n·D numbers a view and sums 2(W−1)/W·D²: they cross where N = 2·D."""

    def exchange(n: int, dtype: torch.dtype) -> str:
        return plan_loss(n, 4 * n, 64, dtype, "cpu", 4, form="covariance").exchange

    assert [exchange(n, torch.float32) for n in (31, 32, 33)] == ["gather", "reduce", "reduce"]
    # rows of half precision are half as long, and sums are not
    assert [exchange(n, torch.bfloat16) for n in (63, 64, 65)] == ["gather", "reduce", "reduce"]


def test_the_plan_finds_each_exchange_unasked() -> None:
    def found(n: int, W: int, D: int, dtype: torch.dtype = torch.float64) -> tuple[str, str]:
        plan = plan_loss(n, W * n, D, dtype, "cpu", W)
        return plan.form, plan.exchange

    assert found(6, 4, 41) == ("gram", "gather")
    assert found(41, 4, 5) == ("covariance", "reduce")
    assert found(11, 2, 13) == ("covariance", "gather")
    assert found(12, 4, 15, torch.bfloat16) == ("covariance", "gather")
