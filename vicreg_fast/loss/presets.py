"""The conventions of the loss, as data. Sources differ in three places: how the invariance is reduced,
whether the variance is halved, and ε; every preset has a test against its formula written out by hand.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import Literal

from vicreg_fast.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Preset:
    """One source's convention."""

    name: str
    invariance: Literal["mean", "row-sum"]
    """`mean`: over the n·D entries of (z − z')². `row-sum`: summed over D, then the mean over n."""
    variance_factor: float
    """Factor of each view's mean_j max(0, γ − σ_j)."""
    eps: float
    """ε of σ = √(v + ε)."""
    source: str

    def invariance_divisor(self, n: int, D: int) -> int:
        """What the sum of (z − z')² over n×D is divided by."""
        return n * D if self.invariance == "mean" else n


PRESETS = MappingProxyType(
    {
        preset.name: preset
        for preset in (
            Preset(
                name="official",
                invariance="mean",
                variance_factor=0.5,
                eps=1e-4,
                source="facebookresearch/vicreg, main_vicreg.py, VICReg.forward",
            ),
            Preset(
                name="paper",
                invariance="row-sum",
                variance_factor=1.0,
                eps=1e-4,
                source="arXiv:2105.04906, equations 1 to 6",
            ),
            Preset(
                name="summed",
                invariance="mean",
                variance_factor=1.0,
                eps=1e-4,
                source="common re-implementations, such as solo-learn's vicreg_loss_func",
            ),
            Preset(
                name="no-eps",
                invariance="mean",
                variance_factor=1.0,
                eps=0.0,
                source="re-implementations for CIFAR-10 that take the standard deviation without ε",
            ),
        )
    }
)


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A preset with its weights: everything that fixes the loss as a function of the two views.

    `eps=None` takes the preset's. Raises UsageError where a number is not finite, or negative, or γ is 0.
    """

    preset: Preset
    invariance_weight: float = 25.0
    variance_weight: float = 25.0
    covariance_weight: float = 1.0
    gamma: float = 1.0
    eps: float | None = None

    def __post_init__(self) -> None:
        for name in ("invariance_weight", "variance_weight", "covariance_weight", "gamma", "eps"):
            value = getattr(self, name)
            if value is None and name == "eps":
                continue
            if not 0 <= value < math.inf:
                raise UsageError(f"{name} = {value}: must be a finite number that is not negative")
        if self.gamma == 0:
            raise UsageError(
                "gamma = 0: must be positive; variance_weight = 0 switches the variance term off"
            )

    @property
    def epsilon(self) -> float:
        return self.preset.eps if self.eps is None else self.eps


def preset_named(name: str) -> Preset:
    """The preset of that name. Raises UsageError, with the nearest name, when there is none."""
    require_name("preset", name, PRESETS)
    return PRESETS[name]


def require_name(option: str, value: str, choices: Iterable[str]) -> None:
    """Raises UsageError, with the nearest valid name, unless `value` is one of `choices`."""
    names = list(choices)
    if value in names:
        return
    close = get_close_matches(str(value), names, n=1, cutoff=0.4)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    raise UsageError(f"{option} = {value!r}: no such {option}{hint}; there are {', '.join(names)}")
