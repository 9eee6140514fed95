"""What each change between `plain` and `fast` brings, from the records of `bench --ladder`.

An effect is the median of paired log-ratios of the scenario with the change to its neighbour without it, with
the bootstrap interval of every comparison (`bench.compare`), as a factor of the speed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.compare import FEWEST_ROUNDS, Interval, throughput_ratio
from bench.ladder_record import LadderRung
from bench.record import Mode, Plan, Record

Paid = Literal["pays", "does not pay", "undecided", "not here"]

LEAST_GAIN = 1.02
"""A change whose whole interval lies below this does not pay: it has to bring two percent."""


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One change, and what it brings."""

    change: str
    description: str
    forwards: Interval | None
    """On top of the changes before it; None where it was not measured."""
    backwards: Interval | None
    """As what is lost when it goes while the changes after it are there."""
    beyond: bool
    """It is no part of `fast`, and was measured on top of it, or of what of it goes with the change."""
    paid: Paid
    missing: str | None
    """Why it was not to be measured, where it was not."""


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """Every change, in order, in one mode."""

    mode: Mode
    bottom: str
    top: str
    rungs: tuple[Rung, ...]
    total: Interval | None
    """`top` ÷ `bottom`, measured, not multiplied; None without a common round."""

    @property
    def multiplied(self) -> float:
        """The product of the forward effects up to `top`; what noise makes of them it differs from `total`
        by."""
        product = 1.0
        for rung in self.rungs:
            if rung.forwards is not None and not rung.beyond:
                product *= rung.forwards.estimate
        return product


def read_ladder(plan: Plan, records: Sequence[Record], mode: Mode) -> Ladder | None:
    """The ladder of a plan in one mode; None where the plan has none, or nothing of it was measured."""
    if not plan.ladder:
        return None
    rungs = tuple(_rung(planned, plan, records, mode) for planned in plan.ladder)
    total = throughput_ratio(records, plan.baseline, plan.contender, mode)
    if total is None and all(rung.forwards is None and rung.backwards is None for rung in rungs):
        return None
    return Ladder(mode=mode, bottom=plan.baseline, top=plan.contender, rungs=rungs, total=total)


def judge(effects: Sequence[Interval]) -> Paid:
    """Of one change's effects: it pays when all of them are shown to be gains, and does not when all are
    shown to be less than `LEAST_GAIN`. Where they disagree, or few rounds were measured, it is undecided."""
    if not effects or any(effect.samples < FEWEST_ROUNDS for effect in effects):
        return "undecided"
    if all(effect.low > 1 for effect in effects):
        return "pays"
    return "does not pay" if all(effect.high < LEAST_GAIN for effect in effects) else "undecided"


def _rung(planned: LadderRung, plan: Plan, records: Sequence[Record], mode: Mode) -> Rung:
    forwards = throughput_ratio(records, *planned.forwards, mode) if planned.forwards else None
    backwards = throughput_ratio(records, *planned.backwards, mode) if planned.backwards else None
    found = [effect for effect in (forwards, backwards) if effect is not None]
    return Rung(
        change=planned.change,
        description=planned.description,
        forwards=forwards,
        backwards=backwards,
        beyond=planned.forwards is not None and planned.backwards is None,
        paid="not here" if planned.missing is not None else judge(found),
        missing=planned.missing,
    )
