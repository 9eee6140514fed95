"""One rank's share of the loss, without the other ranks: its gradient is that of the whole batch."""

import pytest
import torch

from bench import loss_rank
from bench.loss_providers import PROVIDERS
from bench.loss_rank import time_rank
from bench.loss_speed import Pairs
from vicreg_fast.distributed import exchange

PAIRS = Pairs(most=2, min_seconds=1e-4)
CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("n", "world_size"), [(2, 8), (5, 3)])
def test_a_ranks_gradient_is_the_whole_batchs(n: int, world_size: int, dtype: torch.dtype) -> None:
    chosen = [PROVIDERS[name] for name in ("official", "auto", "gram", "solo-learn")]
    timed = {record.provider: record for record in time_rank(chosen, n, 40, world_size, dtype, CPU, PAIRS)}
    assert set(timed) == {"official", "auto", "gram"}, "others' code is not measured as a rank's"
    assert timed["official"].gradient_error is None
    for name in ("auto", "gram"):
        record = timed[name]
        assert (record.n, record.d, record.world_size, record.form) == (n, 40, world_size, "gram")
        assert record.gradient_error is not None
        assert record.gradient_allowed is not None
        assert record.gradient_error <= record.gradient_allowed
        assert len(record.seconds) == 2
    assert exchange.dist is torch.distributed


def test_a_gradient_that_is_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the other ranks bring none of their rows."""

    class Nothing(loss_rank._Exchange):
        def __init__(self, others: torch.Tensor) -> None:
            super().__init__(torch.zeros_like(others))

    monkeypatch.setattr(loss_rank, "_Exchange", Nothing)
    with pytest.raises(ArithmeticError, match="gram: its gradient as a rank of 4"):
        time_rank([PROVIDERS["gram"]], 4, 40, 4, torch.float32, CPU, PAIRS)
    assert exchange.dist is torch.distributed
