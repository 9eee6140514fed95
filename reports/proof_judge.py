"""The claims of a proof, each with what was measured of it and a verdict.

Reached is a target only where the whole 95 % interval lies on its side, and missed only where all of it lies
on the other. An interval takes six rounds; what has no interval, because it is counted or comes from one peak
or one trace, is compared as it is. A rehearsal decides nothing.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from bench.compare import FEWEST_ROUNDS
from bench.proof_claims import CLAIMS, DEVICE, Claim
from reports.proof_found import Measured, Unmeasured
from reports.proof_load import PartState, ProofFolder, load_proof
from reports.proof_measured import measure
from reports.text import plural

Verdict = Literal["reached", "falls short", "too close to call", "not measured", "measured", "rehearsal"]
"""`measured` is a number without a target."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One claim and its verdict."""

    claim: Claim
    part: PartState
    measured: Measured | None
    verdict: Verdict
    why: str = ""
    """Why it was not measured, or cannot be called."""

    @property
    def of_target(self) -> float | None:
        """Measured ÷ target, turned over where less is better: 1 or more is on the target's side. None where
        there is no such number above 0."""
        target, measured = self.claim.target, self.measured
        if not target or measured is None or measured.value <= 0:
            return None
        ratio = measured.value / target
        return ratio if self.claim.sense == "at least" else 1 / ratio


@dataclass(frozen=True, kw_only=True, eq=False)
class Proof:
    """A proof's folder, judged."""

    source: ProofFolder
    rows: tuple[Row, ...]

    @cached_property
    def counts(self) -> Counter[Verdict]:
        return Counter(row.verdict for row in self.rows)

    @property
    def short(self) -> tuple[Row, ...]:
        """The claims that fall short."""
        return tuple(row for row in self.rows if row.verdict == "falls short")

    @property
    def targets(self) -> tuple[Row, ...]:
        """The claims that have a target."""
        return tuple(row for row in self.rows if row.claim.target is not None)

    @property
    def device(self) -> str:
        """The GPU, or the processor where there is none."""
        environment = self.source.environments[-1]
        return environment.gpu or environment.processor

    @property
    def other_device(self) -> bool:
        """Whether it was measured on another GPU than the targets are about."""
        return not self.source.rehearsal and DEVICE not in self.device


def judge_proof(folder: Path, claims: Sequence[Claim] = CLAIMS) -> Proof:
    """Every claim about the proof in a folder. Raises RecordError, in one line, when there is none in it."""
    source = load_proof(folder)
    return Proof(source=source, rows=tuple(_judged(claim, source) for claim in claims))


def _judged(claim: Claim, source: ProofFolder) -> Row:
    part = source.part(claim.part)
    found = measure(claim.quantity, claim.part, source)
    if isinstance(found, Measured) and not math.isfinite(found.value):
        found = Unmeasured(why="its records give no number")
    if isinstance(found, Unmeasured):
        return _without(claim, part, found, rehearsal=source.rehearsal)
    if source.rehearsal:
        return Row(claim=claim, part=part, measured=found, verdict="rehearsal")
    verdict, why = _verdict(claim, found)
    return Row(claim=claim, part=part, measured=found, verdict=verdict, why=why)


def _without(claim: Claim, part: PartState, found: Unmeasured, *, rehearsal: bool) -> Row:
    if rehearsal and part.status == "done":
        return Row(claim=claim, part=part, measured=None, verdict="rehearsal")
    reasons = [f"{claim.part} {part.why}" if part.why else "", found.why]
    why = "; ".join(filter(None, reasons)) or f"{claim.part} left no record of it"
    return Row(claim=claim, part=part, measured=None, verdict="not measured", why=why)


def _verdict(claim: Claim, found: Measured) -> tuple[Verdict, str]:
    target, interval = claim.target, found.interval
    if target is None:
        return "measured", ""
    if interval is not None and interval.samples < FEWEST_ROUNDS:
        return "too close to call", f"{plural(interval.samples, 'round')}; an interval takes {FEWEST_ROUNDS}"
    low, high = (interval.low, interval.high) if interval else (found.value, found.value)
    if claim.sense == "at most":
        low, high, target = -high, -low, -target
    if low >= target:
        return "reached", ""
    return ("falls short", "") if high < target else ("too close to call", "the interval holds the target")
