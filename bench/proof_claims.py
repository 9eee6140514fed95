"""What a proof is held to: each claim, its target, and the quantity that it is about.

The targets are the project's own, set before anything was measured, for one NVIDIA H100, a ResNet-50 at
224² with batch 256 and an 8192 expander, and the loss in bfloat16. A claim without a target is a number that
is to be known, whatever it is. Imports no torch.
"""

from dataclasses import dataclass
from typing import Final, Literal

from bench.proof_quantities import (
    BusyShare,
    FailedTests,
    LinearGain,
    LoaderOverStep,
    LossFloorShare,
    LossMemoryShare,
    LossSpeed,
    MemoryRatio,
    Quantity,
    RankSpeed,
    RungGain,
    Speed,
    SpeedRatio,
)

DEVICE: Final = "H100"
"""That the targets are about, as it appears in a device's name."""

Unit = Literal["×", "%", "pairs/s", "points", "tests"]


@dataclass(frozen=True, kw_only=True)
class Claim:
    id: str
    sentence: str
    """What is measured, in words short enough for a row of a table."""
    part: str
    """Of the proof, that measures it."""
    quantity: Quantity
    unit: Unit
    """`%` is of a share in [0, 1]; `points` are percentage points."""
    target: float | None = None
    """In the unit, shares in [0, 1]; None where the number is only to be known."""
    sense: Literal["at least", "at most"] = "at least"


CLAIMS: tuple[Claim, ...] = (
    Claim(
        id="gpu-tests",
        sentence="Tests marked gpu that fail",
        part="tests",
        quantity=FailedTests(),
        unit="tests",
        target=0,
        sense="at most",
    ),
    Claim(
        id="loss-256-official",
        sentence="Loss 256 × 8192 beside the authors', eager",
        part="loss",
        quantity=LossSpeed(rows=256, dimensions=8192, than="official"),
        unit="×",
        target=20,
    ),
    Claim(
        id="loss-256-compiled",
        sentence="Loss 256 × 8192 beside the authors', compiled",
        part="loss",
        quantity=LossSpeed(rows=256, dimensions=8192, than="official-compiled"),
        unit="×",
        target=10,
    ),
    Claim(
        id="loss-2048-official",
        sentence="Loss 2048 × 8192 beside the authors', eager",
        part="loss",
        quantity=LossSpeed(rows=2048, dimensions=8192, than="official"),
        unit="×",
        target=5,
    ),
    Claim(
        id="loss-2048-compiled",
        sentence="Loss 2048 × 8192 beside the authors', compiled",
        part="loss",
        quantity=LossSpeed(rows=2048, dimensions=8192, than="official-compiled"),
        unit="×",
        target=3,
    ),
    Claim(
        id="loss-rank-official",
        sentence="Loss of one rank of 8, 256 of 2048 rows, beside the authors'",
        part="loss",
        quantity=RankSpeed(rows=256, dimensions=8192, world_size=8),
        unit="×",
        target=25,
    ),
    Claim(
        id="loss-2048-floor",
        sentence="Loss 2048 × 8192, share of its floor",
        part="loss",
        quantity=LossFloorShare(rows=2048, dimensions=8192),
        unit="%",
        target=0.6,
    ),
    Claim(
        id="loss-256-memory",
        sentence="Loss 256 × 8192, extra memory beside the authors'",
        part="loss",
        quantity=LossMemoryShare(rows=256, dimensions=8192),
        unit="×",
        target=1 / 8,
        sense="at most",
    ),
    Claim(
        id="loss-2048-memory",
        sentence="Loss 2048 × 8192, extra memory beside the authors'",
        part="loss",
        quantity=LossMemoryShare(rows=2048, dimensions=8192),
        unit="×",
        target=1 / 8,
        sense="at most",
    ),
    Claim(
        id="fast-baseline",
        sentence="ResNet-50 end to end, vicreg-fast beside baseline",
        part="compare",
        quantity=SpeedRatio(scenario="fast", than="baseline", mode="end-to-end"),
        unit="×",
        target=3,
    ),
    Claim(
        id="fast-tuned",
        sentence="ResNet-50 end to end, vicreg-fast beside tuned",
        part="compare",
        quantity=SpeedRatio(scenario="fast", than="tuned", mode="end-to-end"),
        unit="×",
        target=1.5,
    ),
    Claim(
        id="fast-tuned-compute",
        sentence="ResNet-50 compute only, vicreg-fast beside tuned",
        part="compare",
        quantity=SpeedRatio(scenario="fast", than="tuned", mode="compute-only"),
        unit="×",
        target=1.1,
    ),
    Claim(
        id="fast-compute",
        sentence="ResNet-50 compute only, vicreg-fast",
        part="compare",
        quantity=Speed(scenario="fast", mode="compute-only"),
        unit="pairs/s",
        target=1400,
    ),
    Claim(
        id="gpu-busy",
        sentence="ResNet-50 end to end, the GPU is busy, vicreg-fast",
        part="compare",
        quantity=BusyShare(scenario="fast"),
        unit="%",
        target=0.95,
    ),
    Claim(
        id="dali-step",
        sentence="DALI alone beside the step of vicreg-fast",
        part="dali",
        quantity=LoaderOverStep(scenario="fast", steps_of="compare"),
        unit="×",
        target=1.2,
    ),
    Claim(
        id="cifar-r18",
        sentence="CIFAR ResNet-18 end to end, vicreg-fast",
        part="cifar-r18",
        quantity=Speed(scenario="fast", mode="end-to-end"),
        unit="pairs/s",
        target=10_000,
    ),
    Claim(
        id="linear-untrained",
        sentence="Linear accuracy over an untrained trunk",
        part="cifar10",
        quantity=LinearGain(over="random-trunk"),
        unit="points",
        target=8,
    ),
    Claim(
        id="linear-raw-pixels",
        sentence="Linear accuracy over raw pixels",
        part="cifar10",
        quantity=LinearGain(over="raw-pixels"),
        unit="points",
        target=8,
    ),
    Claim(
        id="captured-eager",
        sentence="ResNet-50 compute only, captured beside eager",
        part="capture",
        quantity=SpeedRatio(scenario="fast", than="fast-capture", mode="compute-only"),
        unit="×",
    ),
    Claim(
        id="apex-fusedsgd",
        sentence="ResNet-50 compute only, with apex's FusedSGD",
        part="ladder",
        quantity=RungGain(change="apex"),
        unit="×",
    ),
    Claim(
        id="step-memory",
        sentence="ResNet-50 device memory, vicreg-fast beside baseline",
        part="memory",
        quantity=MemoryRatio(scenario="fast", than="baseline", instead="compare"),
        unit="×",
    ),
)
"""In the order of the parts; those without a target last."""
