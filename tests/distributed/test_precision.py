"""Ranks that work in lower precision, and in Triton, are as near to the oracle as one process has to be."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.distributed.steps import Case, embedding_step, embeddings_of
from tests.distributed.worlds import World
from tests.loss.earned import assert_earned

GRAM = Case(n=21, D=127)
GATHER = Case(n=21, D=65, form="covariance")
REDUCE = Case(n=63, D=31, form="covariance")
TORCH = [
    replace(case, dtype=dtype, means=means)
    for case in (GRAM, GATHER, REDUCE)
    for dtype in ("float32", "bfloat16", "float16")
    for means in ("near", "far", "apart")
]
# Each dtype in each form, with the means that it finds hardest to centre: interpreted kernels take a second.
TRITON = [
    replace(case, n=9, backend="triton", dtype=dtype, means=means)
    for case in (GRAM, GATHER)
    for dtype, means in (
        ("float32", "far"),
        ("float32", "apart"),
        ("bfloat16", "apart"),
        ("float16", "near"),
    )
]


class Recorded(torch.autograd.Function):
    """The loss that the ranks found, with the gradients that they found."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, loss: Tensor, gradients: Tensor) -> Tensor:
        ctx.save_for_backward(gradients)
        return loss

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        x, y = upstream * ctx.saved_tensors[0]
        return x, y, None, None


@pytest.mark.parametrize("case", TORCH + TRITON, ids=str)
def test_the_error_is_earned(case: Case, world: World) -> None:
    losses, gradients = zip(*world.run(embedding_step, case), strict=True)
    assert len(set(losses)) == 1
    x, y = embeddings_of(case, world.size)
    whole = torch.from_numpy(np.concatenate(gradients, axis=1)).to(case.torch_dtype)
    assert_earned(Recorded.apply(x, y, torch.tensor(losses[0]), whole), 1.0, x, y)
