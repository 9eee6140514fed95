"""Pairs of views, random and adversarial, in float64 on the CPU."""

import torch
from torch import Tensor


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def views_of(n: int, d: int) -> tuple[Tensor, Tensor]:
    return normal(n, n, d), 0.7 * normal(d + 1000, n, d)


def decorrelated(n: int, d: int) -> Tensor:
    centred = normal(3, n, d)
    orthonormal = torch.linalg.qr(centred - centred.mean(dim=0)).Q
    return orthonormal * (n - 1) ** 0.5 + 1e-6 * normal(4, n, d)


def _cases() -> dict[str, tuple[Tensor, Tensor]]:
    x, y = views_of(41, 127)
    return {
        "odd, N < D": views_of(41, 127),
        "odd, N > D": views_of(127, 41),
        "odd, larger": views_of(41, 401),
        "N = D - 1": views_of(40, 41),
        "N = D": views_of(41, 41),
        "N = D + 1": views_of(42, 41),
        "N = 2": views_of(2, 41),
        "D = 1": views_of(41, 1),
        "N = 2, D = 1": views_of(2, 1),
        "offset": (x + 1e3, y - 1e3),
        "decorrelated": (decorrelated(127, 41), decorrelated(127, 41).flip(0)),
        "constant columns beside others": (
            torch.cat([x, torch.ones(41, 3).double()], 1),
            normal(9, 41, 130),
        ),
        "small": (1e-4 * x, 1e-4 * y),
        "large": (1e3 * x, 1e3 * y),
        "equal views": (x, x.clone()),
        "strided": (normal(5, 82, 254)[::2, ::2], normal(6, 82, 254)[::2, ::2]),
        "transposed": (normal(7, 127, 41).T, normal(8, 127, 41).T),
        "expanded": (normal(11, 41, 1).expand(41, 17), normal(12, 1, 17).expand(41, 17)),
    }


CASES = _cases()

__all__ = ["CASES", "decorrelated", "normal", "views_of"]
