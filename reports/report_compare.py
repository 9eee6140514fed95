"""Two runs beside each other: refused unless they are of the same work on the same machine, and then B ÷ A.

The runs were not interleaved, so a drift of the machine between them is in every ratio of their speeds, and
no interval covers it. Where both runs timed their own baseline, "beside it" is the ratio of the two runs'
paired ratios to it: a drift that takes both alike cancels there.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.compare import Interval, mean_t_interval, unpaired_ratio
from reports.names import shown_name
from reports.sentences import FEWEST_ROUNDS, interval_text
from reports.sides import ABSENT, BESIDE, Label, Side
from reports.text import listed, plural, shortened, times
from reports.verdict import Tone
from vicreg_fast.errors import RecordError, UsageError

MANY = 5
"""Ratios from which on chance alone will tell of a change now and then."""


class NotComparableError(RecordError):
    """Two runs whose numbers would say nothing beside each other."""

    exit_code = 5


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A field that should be equal and is not."""

    field: str
    a: str
    b: str

    def __str__(self) -> str:
        return f"{self.field} is {shortened(self.a, 120)} in A and {shortened(self.b, 120)} in B"


@dataclass(frozen=True, kw_only=True)
class Change:
    """One subject in one place."""

    label: Label
    a: float
    """Median, in the sides' unit."""
    b: float
    ratio: Interval
    """Times as fast B is as A: medians, unpaired."""
    beside: Interval | None
    """The same of the two runs' paired ratios to their own baseline; None without one in both."""

    @property
    def said(self) -> str:
        """`faster`, `slower` or `no change shown`: by the ratio beside the baseline where there is one."""
        found = self.beside or self.ratio
        if found.samples < FEWEST_ROUNDS:
            return "too few rounds"
        return "faster" if found.low > 1 else "slower" if found.high < 1 else "no change shown"


@dataclass(frozen=True, kw_only=True, eq=False)
class ComparedRuns:
    a: Side
    b: Side
    allowed: tuple[Difference, ...]
    """Differences that were let pass by name."""
    changes: tuple[Change, ...]
    memory: Mapping[Label, tuple[float, float]]
    """Peak bytes in A and B."""
    accuracy: Mapping[str, Interval]
    """Subject to B − A in points of linear accuracy, over the seeds both have."""
    alone: tuple[str, ...]
    """What only one of the runs measured."""


def place(label: Label) -> str:
    """As a reader is shown it."""
    return ", ".join(map(shown_name, label))


def differences(a: Side, b: Side) -> tuple[Difference, ...]:
    """Every field of the fingerprints that is not equal. What only one run has is no difference."""
    found = []
    for name in dict.fromkeys((*a.fingerprint, *b.fingerprint)):
        one, other = a.fingerprint.get(name, ABSENT), b.fingerprint.get(name, ABSENT)
        of_one_run_only = "." in name and not name.startswith("recipe.") and ABSENT in (one, other)
        if one != other and not of_one_run_only:
            found.append(Difference(field=name, a=one, b=other))
    if any(difference.field.startswith("recipe.") for difference in found):
        return tuple(difference for difference in found if difference.field != "recipe_fingerprint")
    return tuple(found)


def compare_runs(a: Side, b: Side, allow: Sequence[str] = ()) -> ComparedRuns:
    """Raises NotComparableError, naming every field that differs with both values, unless it is in `allow`;
    UsageError when a field in `allow` is none."""
    if a.what != b.what:
        kinds = f"A ({a.name}) is of kind {a.what} and B ({b.name}) of kind {b.what}"
        raise NotComparableError(f"{kinds}: give two runs of one kind")
    known = {*a.fingerprint, *b.fingerprint}
    for name in allow:
        if name not in known:
            raise UsageError(f"--allow {name}: no such field; there are {', '.join(sorted(known))}")
    differing = differences(a, b)
    if refused := [difference for difference in differing if difference.field not in allow]:
        mend = " ".join(f"--allow {difference.field}" for difference in refused)
        raise NotComparableError(
            f"A ({a.name}) and B ({b.name}) are not comparable: {'; '.join(map(str, refused))}. "
            f"To compare them all the same: {mend}"
        )
    changes = tuple(
        _change(label, a, b) for label, speed in a.speeds.items() if label in b.speeds and speed.values
    )
    memory = {
        label: (size, b.peak_bytes[label]) for label, size in a.peak_bytes.items() if label in b.peak_bytes
    }
    accuracy = _accuracies(a, b)
    if not (changes or memory or accuracy):
        raise NotComparableError(f"A ({a.name}) and B ({b.name}) have measured nothing in common")
    return ComparedRuns(
        a=a,
        b=b,
        allowed=tuple(difference for difference in differing if difference.field in allow),
        changes=changes,
        memory=memory,
        accuracy=accuracy,
        alone=tuple(
            f"{place(label)}: only in {side}"
            for side, mine, other in (("A", a, b), ("B", b, a))
            for label in mine.speeds
            if label not in other.speeds
        ),
    )


def _change(label: Label, a: Side, b: Side) -> Change:
    one, other = a.speeds[label], b.speeds[label]
    ratio = unpaired_ratio(one.values, other.values)
    if a.unit != "pairs/s":  # less is faster
        ratio = unpaired_ratio(other.values, one.values)
    beside = None
    if one.beside and other.beside and a.fingerprint.get(BESIDE) == b.fingerprint.get(BESIDE):
        beside = unpaired_ratio(one.beside, other.beside)
    if a.what == "regression":  # is beside the naive loss in itself
        beside = ratio
    return Change(
        label=label,
        a=statistics.median(one.values),
        b=statistics.median(other.values),
        ratio=ratio,
        beside=beside,
    )


def _accuracies(a: Side, b: Side) -> dict[str, Interval]:
    found = {}
    for subject, by_seed in a.accuracies.items():
        theirs = b.accuracies.get(subject, {})
        seeds = [seed for seed in by_seed if seed in theirs]
        if seeds:
            found[subject] = mean_t_interval([100 * (theirs[seed] - by_seed[seed]) for seed in seeds])
    return found


@dataclass(frozen=True, kw_only=True)
class CompareVerdict:
    headline: str
    tone: Tone
    context: tuple[str, ...]
    caveats: tuple[str, ...]


def compare_verdict(compared: ComparedRuns) -> CompareVerdict:
    """What B is beside A, in words, and what speaks against believing it."""
    first = next((change for change in compared.changes if change.label == compared.a.first), None)
    tones: dict[str, Tone] = {"faster": "good", "slower": "bad"}
    return CompareVerdict(
        headline=_headline(compared, first),
        tone=tones.get(first.said, "open") if first else "open",
        context=(_counted(compared.changes), _commits(compared))
        if compared.changes
        else (_commits(compared),),
        caveats=_caveats(compared),
    )


def _headline(compared: ComparedRuns, first: Change | None) -> str:
    if first is None:
        return "B beside A: nothing that a headline is about was timed in both."
    where = place(first.label)
    speed = f"{times(first.ratio.estimate)} the speed of A ({interval_text(first.ratio)}, unpaired)"
    text = f"B runs {where} at {speed}"
    if compared.a.what == "regression":
        return f"{text}, beside the naive loss: {first.said}."
    if first.beside is None:
        return f"{text}: {first.said}."
    return (
        f"{text}; beside its own baseline, at {times(first.beside.estimate)} "
        f"({interval_text(first.beside)}): {first.said}."
    )


def _counted(changes: Sequence[Change]) -> str:
    counts = {
        said: sum(change.said == said for change in changes)
        for said in ("faster", "slower", "no change shown", "too few rounds")
    }
    parts = [f"{count} {said}" for said, count in counts.items() if count]
    return f"Of {plural(len(changes), 'speed')} that both runs timed: {listed(parts)}."


def _commits(compared: ComparedRuns) -> str:
    sides = (
        f"{letter} ({side.name}) is of commit {listed(list(side.commits)) if side.commits else 'unknown'}"
        for letter, side in (("A", compared.a), ("B", compared.b))
    )
    return f"{'; '.join(sides)}."


def _caveats(compared: ComparedRuns) -> tuple[str, ...]:
    caveats = [
        "The two runs were not interleaved: a drift of the machine between them is in every ratio, and in no "
        "interval. A verdict on a change of the loss is what `vicreg-fast bench loss --against` gives."
    ]
    if len(compared.changes) >= MANY:
        caveats.append("Of twenty 95 % intervals one misses its truth by chance: a single change may be one.")
    if compared.allowed:
        let = "; ".join(map(str, compared.allowed))
        caveats.append(f"Not like for like, and let pass with --allow: {let}.")
    if compared.a.what == "losses":
        caveats.append(
            "Samples of a run are of one process, so its intervals hold no difference of processes."
        )
    fewest = min((change.ratio.samples for change in compared.changes), default=FEWEST_ROUNDS)
    if fewest < FEWEST_ROUNDS:
        caveats.append(
            f"Some speeds have fewer than {FEWEST_ROUNDS} rounds: their intervals are narrower than 95 %."
        )
    for letter, side in (("A", compared.a), ("B", compared.b)):
        if side.problems:
            caveats.append(f"{letter} has {plural(len(side.problems), 'problem')}: {side.problems[0]}.")
    if compared.alone:
        caveats.append(f"Not compared: {'; '.join(compared.alone)}.")
    return tuple(caveats)
