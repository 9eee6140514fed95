"""Scenarios as sets of changes, and the names they have.

`plain` and `baseline` have none of the changes, `tuned` and `fast` several. A name is one of these, with
changes added or taken away: `plain+dali` is the authors' way in fp32 with DALI's views, and
`fast-fused_loss-foreach` ours without two of its changes.

The ladder goes from `plain` to `fast` in two ways. Forwards it makes one change after the other, so that each
comes on top of those before it; backwards it takes them away from `fast` in the same order, so that each goes
while those after it are still there. A change whose two effects differ is one that others decide.
"""

import re
from collections.abc import Mapping, Sequence

from bench.ladder_record import LadderRung
from vicreg_fast.errors import UsageError

CHANGES = {
    "amp": "half precision by autocast",
    "channels_last": "images and weights in channels_last",
    "dali": "views made by DALI",
    "fused_loss": "the loss in closed form",
    "foreach": "the optimiser in foreach or fused kernels",
    "parallel_views": "on a CPU both views at once, each on half of the threads",
    "keep_memory": "on a CPU the process keeps the memory that it frees",
    "capture": "the step in one CUDA graph",
    "compile": "the network through torch.compile, its two views one after the other",
    "apex": "SGD by NVIDIA apex's FusedSGD, in place of the recipe's optimiser",
}
"""Every change, in the order of the ladder."""

BASES: dict[str, frozenset[str]] = {
    "plain": frozenset(),
    "baseline": frozenset(),
    "tuned": frozenset({"amp", "channels_last", "foreach", "compile"}),
    "fast": frozenset(
        {"amp", "channels_last", "dali", "fused_loss", "foreach", "parallel_views", "keep_memory", "capture"}
    ),
}
"""What a scenario is made of, before what this machine cannot do is left out."""

NEEDS = {"capture": "foreach"}
"""An optimiser that is told its learning rate by Python would be replayed with the rate of its capture."""

EXCLUDES = {"apex": "capture"}
"""For the same reason."""


def parse_name(name: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The base of a scenario's name, and its edits as (sign, change), whatever the machine.

    Raises UsageError, naming what there is, for a name that means nothing."""
    base, *edits = re.split(r"(?=[+-])", name)
    if base not in BASES:
        raise UsageError(
            f"no scenario {name!r}; there are {', '.join(BASES)}, each also with +CHANGE or -CHANGE"
        )
    for edit in edits:
        if edit[1:] not in CHANGES:
            raise UsageError(f"scenario {name!r}: no change {edit[1:]!r}; there are {', '.join(CHANGES)}")
    return base, tuple((edit[0], edit[1:]) for edit in edits)


def named_changes(name: str) -> frozenset[str]:
    """The changes whose obstacles decide what that name means. Raises UsageError as `parse_name`."""
    base, edits = parse_name(name)
    return BASES[base] | {change for _, change in edits}


def scenario_changes(name: str, *, obstacles: Mapping[str, str], compiles: bool) -> frozenset[str]:
    """The changes that the scenario of that name has here.

    `obstacles` are the changes that cannot be made here, each with why; `compiles` says that the recipe has
    `fast` compiled. Raises UsageError for a name that means nothing, or nothing here.
    """
    base, edits = parse_name(name)
    # Without a compiler `tuned` fails: it is not to be measured under its name, and be something else.
    changes = set(BASES[base]) - (obstacles.keys() - {"compile"})
    if base == "fast" and compiles:
        changes.add("compile")
    for sign, change in edits:
        if change in obstacles:
            raise UsageError(f"scenario {name!r}: {change} cannot be had here: {obstacles[change]}")
        if (sign == "+") == (change in changes):
            has = "has it already" if sign == "+" else "does not have it"
            raise UsageError(f"scenario {name!r}: {change} changes nothing there, which {has}")
        changes ^= {change}
    for change, needed in NEEDS.items():
        if change in changes and needed not in changes:
            raise UsageError(f"scenario {name!r}: {change} needs {needed}; take both away, or neither")
    for change, excluded in EXCLUDES.items():
        if change in changes and excluded in changes:
            raise UsageError(f"scenario {name!r}: {change} excludes {excluded}; take that away, -{excluded}")
    return frozenset(changes)


def plan_ladder(fast: frozenset[str], obstacles: Mapping[str, str]) -> tuple[LadderRung, ...]:
    """A rung for every change, in their order, those that cannot be made here too. `fast` are its changes."""
    forwards = _steps(frozenset(), [change for change in CHANGES if change in fast], fast)
    downwards = _steps(fast, _taken_away(fast), fast)
    rungs = []
    for change, description in CHANGES.items():
        pair = forwards.get(change)
        if pair is None and change not in obstacles:
            excluded = EXCLUDES.get(change)
            base = f"fast-{excluded}" if excluded in fast else "fast"
            pair = (base, f"{base}+{change}")
        rungs.append(
            LadderRung(
                change=change,
                description=description,
                forwards=pair,
                backwards=downwards[change][::-1] if change in downwards else None,
                missing=obstacles.get(change) if pair is None else None,
            )
        )
    return tuple(rungs)


def ladder_scenarios(rungs: Sequence[LadderRung]) -> tuple[str, ...]:
    """The names of all that the rungs compare, each once: up the ladder, over its top, and down on the other
    side, so that the two of a rung are measured one soon after the other."""
    up = [name for rung in rungs if rung.forwards for name in rung.forwards]
    down = [name for rung in rungs if rung.backwards for name in reversed(rung.backwards)]
    return tuple(dict.fromkeys((*up, *down)))


def _taken_away(fast: frozenset[str]) -> list[str]:
    """The changes in the order they go: their own, but none while another needs it."""
    left, order = [change for change in CHANGES if change in fast], []
    while left:
        going = next(change for change in left if not any(NEEDS.get(other) == change for other in left))
        left.remove(going)
        order.append(going)
    return order


def _steps(start: frozenset[str], order: Sequence[str], fast: frozenset[str]) -> dict[str, tuple[str, str]]:
    """Each change with the names of what was there before it and after it."""
    steps = {}
    for change in order:
        following = start ^ {change}
        steps[change] = (_name(start, fast), _name(following, fast))
        start = following
    return steps


def _name(changes: frozenset[str], fast: frozenset[str]) -> str:
    """As few changes from `plain` or from `fast` as name it."""
    added = [change for change in CHANGES if change in changes]
    gone = [change for change in CHANGES if change in fast - changes]
    if len(gone) < len(added):
        return "fast" + "".join(f"-{change}" for change in gone)
    return "plain" + "".join(f"+{change}" for change in added)
