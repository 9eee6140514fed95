"""One run as one side of `report compare`: what has to be equal before its numbers say anything, and they."""

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bench.loss_compare import place_of
from bench.record import Environment, RegressionPlan, RegressionSample, read_records
from reports.dispatch import choose_kind
from reports.load import MOST_SECONDS, load_report
from reports.loss_load import BASELINE, load_loss_report
from reports.loss_summary import BOTH
from reports.record_kinds import record_files, record_kinds
from reports.summary import summarise
from vicreg_fast.errors import RecordError

What = Literal["comparison", "losses", "regression"]
Label = tuple[str, ...]
"""Who, and where: ("fast", "end-to-end")."""

_MACHINE = ("processor", "cores", "gpu", "gpu_count", "driver", "cuda")
_DEFINITION = (
    *("pipeline", "precision", "memory_format", "loss", "optimizer", "capture", "compile", "workers"),
)
_VERSIONS = ("python", "torch", "torchvision", "triton", "numpy", "pillow")
ABSENT = "not recorded"
BESIDE = "baseline"
"""The field that names what a run compares its scenarios with."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Of one subject in one place: one value a round, or a sample."""

    values: tuple[float, ...]
    beside: tuple[float, ...] = ()
    """In the same rounds, times as fast as the run's own baseline; empty for it."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One run."""

    what: What
    name: str
    """Of its file or folder; never a path, because reports travel."""
    commits: tuple[str, ...]
    fingerprint: Mapping[str, str]
    """Field to value. Commits are not in it: they are what is compared."""
    unit: Literal["pairs/s", "s", "× naive"]
    """Of `values`; of pairs/s, more is faster, of the others, less."""
    speeds: Mapping[Label, Speed]
    peak_bytes: Mapping[Label, float] = field(default_factory=dict)
    accuracies: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    """Subject to seed to linear accuracy, in [0, 1]."""
    first: Label | None = None
    """What a headline is about."""
    problems: tuple[str, ...] = ()


def load_side(path: Path) -> Side:
    """Raises RecordError, in one line, when the path cannot be read or is of no kind that is compared."""
    kinds = record_kinds(path)
    (file,) = record_files([path])
    if "plan" in kinds:
        return _comparison(file, _name(path))
    if "regression-plan" in kinds:
        return _regression(file, _name(path))
    if kinds & {"loss-timing", "loss-comparison"}:
        return _losses(file, _name(path))
    what = choose_kind([path]).name
    raise RecordError(
        f"{path}: is {what}; what can be compared is records of `bench --compare`, `bench loss` and "
        "`bench loss --against`"
    )


def _name(path: Path) -> str:
    whole = path.resolve()
    return whole.parent.name if whole.name == "records.jsonl" else whole.name


def _comparison(file: Path, name: str) -> Side:
    report = load_report([file])
    summary, plan = summarise(report), report.plan
    fields = _machine(report.environments)
    fields |= {"device": plan.device, "data": plan.data, BESIDE: plan.baseline}
    fields["recipe_fingerprint"] = plan.recipe_fingerprint
    fields |= {f"recipe.{key}": str(value) for key, value in plan.recipe.items()}
    for of_batch in ("batch_size", "image_size"):
        fields[of_batch] = _one_of(str(getattr(record, of_batch)) for record in report.throughputs)
    for scenario in plan.scenarios:
        fields |= {f"{scenario.name}.{part}": str(getattr(scenario, part)) for part in _DEFINITION}
    return Side(
        what="comparison",
        name=name,
        commits=_commits(report.environments),
        fingerprint=fields,
        unit="pairs/s",
        speeds={
            (rate.scenario, rate.mode): Speed(values=tuple(rate.by_round.values()), beside=rate.paired)
            for rate in summary.rates.values()
        },
        peak_bytes={
            (peak.scenario, peak.compared): float(size)
            for peak in summary.peaks.values()
            if (size := (peak.device or 0) if peak.compared == "device" else peak.host_over_start) > 0
        },
        accuracies={subject: probe.by_seed for subject, probe in summary.probes.items()},
        first=(plan.contender, "end-to-end"),
        problems=report.problems,
    )


def _losses(file: Path, name: str) -> Side:
    report = load_loss_report([file])
    fields = _machine(report.environments)
    for asked in ("device", "threads"):
        fields[asked] = _one_of(str(getattr(comparison, asked)) for comparison in report.comparisons)
    fields |= {f"{s.name}.version": s.version for s in report.subjects.values() if s.version}
    samples: dict[Label, list[float]] = {}
    beside: dict[Label, list[float]] = {}
    runs = {(t.provider, place_of(t), t.phase, t.pid, t.round): t.seconds for t in report.timings}
    for (provider, place, phase, pid, round_), seconds in runs.items():
        label = (provider, f"{place.n} × {place.d}, {place.dtype} on {place.device}, {phase}")
        samples.setdefault(label, []).extend(seconds)
        base = runs.get((BASELINE, place, phase, pid, round_))
        if provider != BASELINE and base is not None and len(base) == len(seconds):
            beside.setdefault(label, []).extend(b / s for b, s in zip(base, seconds, strict=True))
    ours = {name for name, subject in report.subjects.items() if subject.ours}
    # What a reader looks for first: ours, forward and backward.
    samples = dict(
        sorted(
            samples.items(),
            key=lambda item: (not item[0][-1].endswith(BOTH), item[0][0] not in ours),
        )
    )
    return Side(
        what="losses",
        name=name,
        commits=_commits(report.environments),
        fingerprint=fields,
        unit="s",
        speeds={
            label: Speed(values=tuple(values), beside=tuple(beside.get(label, ())))
            for label, values in samples.items()
        },
        peak_bytes={
            (m.provider, f"{m.n} × {m.d}, {m.dtype} on {m.device}"): float(m.peak_bytes)
            for m in report.memories
            if m.peak_bytes > 0
        },
        first=next((label for label in samples if label[0] in ours), None),
        problems=report.problems,
    )


def _regression(file: Path, name: str) -> Side:
    """The head of the run: its base is a side of another comparison, which the run itself has made."""
    records, problems = read_records(file)
    environments = [record for record in records if isinstance(record, Environment)]
    plan = next((record for record in reversed(records) if isinstance(record, RegressionPlan)), None)
    if plan is None:
        why = f" ({problems[0]})" if problems else ""
        raise RecordError(f"{file}: its plan cannot be read{why}; give the whole file")
    rounds: dict[Label, dict[tuple[int, int], list[float]]] = {}
    for record in records:
        if isinstance(record, RegressionSample) and record.side == "head":
            pairs = zip(record.seconds, record.naive_seconds, strict=False)
            ratios = [own / naive for own, naive in pairs if _is_time(own) and _is_time(naive)]
            if ratios:
                rounds.setdefault((record.case,), {})[record.attempt, record.round] = ratios
    return Side(
        what="regression",
        name=name,
        commits=(plan.head_commit[:12],) if plan.head_commit else (),
        fingerprint={
            **_machine(environments),
            "device": plan.device,
            "threads": str(plan.threads),
            **plan.head_fingerprint,
        },
        unit="× naive",
        speeds={
            label: Speed(values=tuple(statistics.median(ratios) for ratios in found.values()))
            for label, found in rounds.items()
        },
        first=next(iter(rounds), None),
        problems=tuple(problems),
    )


def _machine(environments: Iterable[Environment]) -> dict[str, str]:
    """The fields of the environments that set speed, each version and each variable one of its own; where
    they are not of one value, all of them."""
    found: dict[str, list[str]] = {}
    environments = list(environments)
    for environment in environments:
        for name in _MACHINE:
            value = getattr(environment, name)
            found.setdefault(name, []).append(ABSENT if value is None else str(value))
    for part in ("versions", "environment_variables"):
        for name in sorted({name for environment in environments for name in getattr(environment, part)}):
            # vicreg-fast itself is what is compared, and rivals have a version of their own.
            if part == "versions" and name not in _VERSIONS and not name.startswith("nvidia-"):
                continue
            values = (getattr(environment, part).get(name, ABSENT) for environment in environments)
            found[name] = [_minor(value) if name == "python" else value for value in values]
    return {name: _one_of(values) for name, values in found.items()}


def _is_time(seconds: float) -> bool:
    return 0 < seconds < MOST_SECONDS  # NaN is not


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _one_of(values: Iterable[str]) -> str:
    return " and ".join(dict.fromkeys(values)) or ABSENT


def _commits(environments: Iterable[Environment]) -> tuple[str, ...]:
    found = (
        environment.commit[:12] + (" with uncommitted changes" if environment.uncommitted_changes else "")
        for environment in environments
        if environment.commit
    )
    return tuple(dict.fromkeys(found))
