"""What a regression run is asked for, and what that is on this machine."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bench.record import Environment
from bench.regression_base import RevisionBase, StoredBase, fingerprint, head_commit
from bench.regression_record import RegressionPlan
from vicreg_fast.errors import BaselineError, UsageError

Clock = Literal["wall", "cpu", "cuda-events"]
Described = Mapping[str, Any]
"""How a side describes itself: `device`, `cuda`, `cases`, `timed`."""


@dataclass(frozen=True, kw_only=True)
class Regression:
    """What to compare, and how long to look."""

    base: RevisionBase | StoredBase
    command: str
    device: str = "auto"
    """`auto`, `cpu` or `cuda`."""
    threads: int | None = None
    """None: those of a stored base, else 1."""
    cases: tuple[str, ...] | None = None
    """None: count all, time those that the suites time."""
    rounds: int = 7
    most_rounds: int = 7
    """Those of a case that is still uncertain by more than `least_tau` after `rounds`."""
    pairs: int = 20
    least_tau: float = 0.03
    gates_only: bool = False
    timing_too: bool = False
    """Time the cases even where a count has risen."""


def choose_threads(r: Regression) -> int:
    """Those asked for, or those that the stored base was measured with, or one."""
    stated = r.base.fingerprint.get("threads", "") if isinstance(r.base, StoredBase) else ""
    return r.threads or (int(stated) if stated.isdecimal() and int(stated) else 1)


def make_plan(
    r: Regression, head: Described, base: Described | None, environment: Environment
) -> RegressionPlan:
    """The plan; `base` is None where it is stored. Raises UsageError for a case or a device that is not
    there, BaselineError for a stored base without the times that are asked for."""
    stored = r.base if isinstance(r.base, StoredBase) else None
    if r.device == "cuda" and not head["cuda"]:
        raise UsageError(
            "--device cuda: torch finds no CUDA device (see `vicreg-fast doctor`); use --device cpu"
        )
    for name in r.cases or ():
        if name not in head["cases"]:
            raise UsageError(f"--cases {name}: there is no such case; there are {', '.join(head['cases'])}")
    if stored is not None and not stored.samples and not r.gates_only:
        raise BaselineError(
            f"--against {stored.name}: it holds counts and no times; compare the counts with --gates-only"
        )
    if stored is not None:
        base_cases, timed = stored.cases, {sample.case for sample in stored.samples}
    else:
        assert base is not None
        base_cases, timed = tuple(base["cases"]), set(base["timed"])
    threads = choose_threads(r)
    clock = _clock(head["device"], threads, stored)
    here = fingerprint(environment, device=head["device"], threads=threads, clock=clock)
    return RegressionPlan(
        command=r.command,
        against=r.base.name,
        source=stored.source if stored else "revision",
        base_commit=r.base.commit,
        head_commit=head_commit(),
        base_fingerprint=stored.fingerprint if stored else here,
        head_fingerprint=here,
        base_cases=tuple(case for case in base_cases if r.cases is None or case in r.cases),
        head_cases=r.cases or tuple(head["cases"]),
        device=head["device"],
        threads=threads,
        rounds=0 if r.gates_only else r.rounds,
        most_rounds=r.most_rounds if r.most_rounds > r.rounds and not r.gates_only else None,
        pairs=r.pairs,
        least_tau=r.least_tau,
        timed_cases=r.cases or tuple(c for c in head["cases"] if c in head["timed"] or c in timed),
        gates_only=r.gates_only,
        clock=clock,
    )


def _clock(device: str, threads: int, stored: StoredBase | None) -> Clock:
    """That of a stored base. Else the time a process computes, where it has one thread: on a busy machine it
    varies by far less than wall time."""
    if stored is not None and stored.fingerprint.get("device") == device:
        found = stored.fingerprint.get("clock")
        if found == "cpu" or found == "wall" or (found == "cuda-events" and device == "cuda"):
            return "cuda-events" if found == "cuda-events" else "cpu" if found == "cpu" else "wall"
    if device == "cuda":
        return "cuda-events"
    return "cpu" if threads == 1 else "wall"
