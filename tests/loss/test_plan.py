"""The plan: pure, total, and by counted work."""

import itertools
import sys
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from vicreg_fast.errors import UsageError
from vicreg_fast.loss import LossPlan, plan_loss, vicreg_loss

plan_module = sys.modules["vicreg_fast.loss.plan"]

SIZES = (2, 3, 41, 256, 401, 2048, 8192)
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


@pytest.mark.parametrize("device_type", ["cpu", "cuda"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_shape_has_a_plan_and_the_same_one_again(dtype: torch.dtype, device_type: str) -> None:
    for n, W, D in itertools.product((1, *SIZES), (1, 2, 8), (1, *SIZES)):
        if n * W < 2:
            continue
        plan = plan_loss(n, n * W, D, dtype, device_type, W)
        assert plan == plan_loss.__wrapped__(n, n * W, D, dtype, device_type, W)
        forced = [plan_loss(n, n * W, D, dtype, device_type, W, form=form) for form in ("gram", "covariance")]
        assert plan.flops == min(f.flops for f in forced)
        assert [f.form for f in forced] == ["gram", "covariance"]
        assert plan.form in plan.reason


def test_one_process_crosses_at_n_equal_d() -> None:
    def form(n: int) -> str:
        return plan_loss(n, n, 256, torch.float32, "cpu").form

    assert [form(255), form(256), form(257)] == ["gram", "covariance", "covariance"]


def test_ranks_that_share_the_rows_share_the_gram_matrix_but_not_the_covariance() -> None:
    """8 ranks of 256 rows: 2048 global, more than D = 1536, and still the Gram form is less work a rank."""
    assert plan_loss(256, 2048, 1536, torch.float32, "cuda", 8).form == "gram"
    assert plan_loss(2048, 2048, 1536, torch.float32, "cuda", 1).form == "covariance"


@pytest.mark.parametrize("form", ["gram", "covariance"])
@pytest.mark.parametrize("shape", [(24, 56), (56, 24)], ids=str)
def test_counted_flops_are_those_torch_counts(shape: tuple[int, int], form: str) -> None:
    x, y = (torch.ones(*shape).requires_grad_() for _ in range(2))
    with FlopCounterMode(display=False) as counter:
        vicreg_loss(x, y, form=form).backward()
    assert counter.get_total_flops() == plan_loss(shape[0], *shape, torch.float32, "cpu", form=form).flops


@pytest.mark.parametrize("form", ["gram", "covariance"])
def test_no_product_is_made_for_a_gradient_that_nobody_asked_for(form: str) -> None:
    x, y = (torch.ones(24, 56).requires_grad_() for _ in range(2))
    plan = plan_loss(24, 24, 56, torch.float32, "cpu", form=form)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        vicreg_loss(x, y, form=form)
    assert counter.get_total_flops() == plan.flops_forward
    with FlopCounterMode(display=False) as counter:
        vicreg_loss(x, y.detach(), form=form).backward()
    assert counter.get_total_flops() == plan.flops_forward + plan.flops_backward // 2


def test_bytes_of_a_known_plan() -> None:
    plan = plan_loss(256, 2048, 8192, torch.bfloat16, "cuda", 8)
    assert plan == LossPlan(
        form="gram",
        backend="torch",
        exchange="gather",
        flops_forward=2 * 2 * 256 * 2048 * 8192,
        flops_backward=2 * 2 * 256 * 2048 * 8192,
        product_bytes=2 * 256 * 2048 * 4,
        saved_bytes=2 * 256 * 8192 * 4,
        exchange_bytes=2 * (2048 - 256) * 8192 * 2,
        reason=plan.reason,
    )
    assert plan_loss(64, 64, 32, torch.float64, "cpu").product_bytes == 2 * 32 * 32 * 8


def test_a_user_may_force_the_form() -> None:
    plan = plan_loss(512, 512, 16, torch.float32, "cpu", form="gram")
    assert (plan.form, plan.reason) == ("gram", "gram form: asked for")


def test_triton_is_refused_where_it_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def plan(dtype: torch.dtype = torch.float32, device: str = "cuda", **options: Any) -> LossPlan:
        return plan_loss.__wrapped__(64, 128, 32, dtype, device, 2, backend="triton", **options)

    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(UsageError, match=r"run on CUDA, not on cpu .*; use backend='torch'"):
        plan(device="cpu")
    with pytest.raises(UsageError, match=r"take float32, float16 and bfloat16, not torch.float64"):
        plan(torch.float64)
    with pytest.raises(UsageError, match="no kernel for a D×D sum over ranks"):
        plan(form="covariance")
    assert plan(form="gram").backend == "triton"
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert plan(form="gram", device="cpu").backend == "triton"


def test_auto_takes_triton_only_where_a_record_shows_it_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    def backend(dtype: torch.dtype) -> str:
        return plan_loss.__wrapped__(64, 64, 128, dtype, "cuda").backend

    assert backend(torch.bfloat16) == "torch"
    monkeypatch.setattr(plan_module, "MEASURED_TO_WIN", {("gram", "cuda", torch.bfloat16)})
    assert [backend(dtype) for dtype in (torch.bfloat16, torch.float32)] == ["triton", "torch"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "gramm"}, r"form = 'gramm': no such form \(did you mean 'gram'\?\)"),
        ({"backend": "tritn"}, r"backend = 'tritn': no such backend \(did you mean 'triton'\?\)"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plan_loss(64, 64, 128, torch.float32, "cpu", **options)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((1, 1, 4, torch.float32, "cpu", 1), "at least two rows"),
        ((0, 2, 4, torch.float32, "cpu", 1), "must be positive"),
        ((2, 2, 0, torch.float32, "cpu", 1), "must be positive"),
        ((2, 3, 4, torch.float32, "cpu", 2), "is not world_size × n"),
        ((2, 2, 4, torch.int64, "cpu", 1), "not a floating dtype"),
    ],
)
def test_sizes_that_no_loss_can_have(
    sizes: tuple[int, int, int, torch.dtype, str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        plan_loss(*sizes)
