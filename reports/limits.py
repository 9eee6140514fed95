"""How close each scenario comes to what its machine can do: the least time of a step, and the share reached.

Beside it what else a run says about limits: energy (`reports.energy`), cost (`reports.cost`) and where a
traced step's time went. The three functions at the end are what a page takes.
"""

from dataclasses import dataclass

from bench.limits import StepFloor, best_ceiling, step_floor, utilisation
from bench.limits_record import StepWork
from bench.loss_record import Ceiling
from bench.record import Mode
from reports.cost import cost_sentences, cost_table
from reports.energy import energy_caveats, energy_sentences, energy_table
from reports.summary import Summary
from reports.tables import Table
from reports.text import NOTHING, amount, memory, percent

STEPPING: tuple[Mode, ...] = ("end-to-end", "compute-only")
"""Modes in which a step is taken."""


@dataclass(frozen=True, kw_only=True)
class Limit:
    """One scenario in one mode beside the limits of its machine."""

    scenario: str
    mode: Mode
    work: StepWork
    ceiling: Ceiling
    floor: StepFloor
    step_seconds: float
    """Median over rounds."""

    @property
    def of_floor(self) -> float:
        """Floor ÷ time: 1 would be as fast as can be."""
        return self.floor.seconds / self.step_seconds

    @property
    def utilisation(self) -> float:
        """MFU."""
        return utilisation(self.work, self.ceiling, self.step_seconds)

    @property
    def flops_per_second(self) -> float:
        """Of model FLOPs."""
        return self.work.model_flops / self.step_seconds


def limits(summary: Summary) -> tuple[Limit, ...]:
    """Of every scenario whose step was counted and timed, where its ceiling was measured."""
    works = {work.scenario: work for work in summary.report.works}
    found = []
    for name in summary.scenarios:
        for mode in STEPPING:
            rate, work = summary.rates.get((name, mode)), works.get(name)
            if rate is None or work is None:
                continue
            ceiling = best_ceiling(summary.report.ceilings, work.dtype, work.device)
            if ceiling is None:
                continue
            found.append(
                Limit(
                    scenario=name,
                    mode=mode,
                    work=work,
                    ceiling=ceiling,
                    floor=step_floor(work, ceiling),
                    step_seconds=work.batch_size / rate.median.estimate,
                )
            )
    return tuple(found)


def limits_table(summary: Summary) -> Table:
    """Each time beside its floor."""
    rows = tuple(
        (
            limit.scenario,
            limit.mode,
            milliseconds(limit.step_seconds),
            milliseconds(limit.floor.seconds),
            limit.floor.bound,
            percent(limit.of_floor),
            flops(limit.flops_per_second) + "/s",
            f"{flops(limit.ceiling.flops_per_second)}/s {limit.ceiling.dtype}",
            percent(limit.utilisation),
        )
        for limit in limits(summary)
    )
    columns = (
        "scenario",
        "mode",
        "step",
        "floor",
        "bound by",
        "floor ÷ step",
        "model FLOPs",
        "ceiling",
        "MFU",
    )
    return Table(title="Limits of a step", columns=columns, rows=rows, names=2)


def work_table(summary: Summary) -> Table:
    """What a step computes and moves."""
    rows = tuple(
        (
            work.scenario,
            flops(work.model_flops),
            flops(work.flops),
            flops(work.loss_least_flops),
            flops(work.loss_flops) + (" planned" if work.loss_counted == "formula" else ""),
            memory(work.least_bytes),
            memory(work.operator_bytes) + (" as eager" if work.eager_twin else ""),
            amount(work.model_flops / work.operator_bytes),
        )
        for work in summary.report.works
    )
    columns = (
        "scenario",
        "model FLOPs",
        "FLOPs done",
        "of it the loss, least",
        "the loss, done",
        "least bytes",
        "operators' bytes",
        "model FLOPs a byte",
    )
    return Table(title="Work of a step", columns=columns, rows=rows)


def trace_table(summary: Summary) -> Table:
    """Where a traced step's time goes, in shares of it."""
    traces = summary.report.traces
    host = tuple(dict.fromkeys(phase for trace in traces for phase in trace.host))
    device = tuple(dict.fromkeys(part for trace in traces for part in trace.device_work or {}))
    rows = tuple(
        (
            trace.scenario,
            milliseconds(trace.step_seconds),
            *(_share(trace.host.get(phase)) for phase in host),
            *(_share((trace.device_work or {}).get(part)) for part in device),
            trace.file,
        )
        for trace in traces
    )
    columns = ("scenario", "traced step", *map(_phase, host), *(f"GPU {part}" for part in device), "trace")
    return Table(title="Where a step's time goes", columns=columns, rows=rows)


def limits_tables(summary: Summary) -> tuple[Table, ...]:
    """Every table about limits that holds anything."""
    tables = (
        limits_table(summary),
        work_table(summary),
        energy_table(summary),
        cost_table(summary),
        trace_table(summary),
    )
    return tuple(table for table in tables if table.rows)


def limits_sentences(summary: Summary) -> tuple[str, ...]:
    """How close contender and baseline come to their machine's limits, their energy and their cost."""
    plan = summary.plan
    said = [_sentence(summary, name) for name in dict.fromkeys((plan.contender, plan.baseline))]
    return (*filter(None, said), *energy_sentences(summary), *cost_sentences(summary))


def limits_caveats(summary: Summary) -> tuple[str, ...]:
    """What to know before believing the above."""
    beyond = dict.fromkeys(limit.scenario for limit in limits(summary) if limit.utilisation > 1)
    caveats = [
        f"{name} computes faster than the products that its ceiling was measured with: the machine was "
        "busier with something else while it was measured, so its shares are too high."
        for name in beyond
    ]
    return (*caveats, *energy_caveats(summary))


def milliseconds(seconds: float) -> str:
    return f"{amount(1e3 * seconds)} ms"


def flops(count: float) -> str:
    """Operations with a prefix that leaves one to three digits before the point."""
    for prefix, size in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{amount(count / size)} {prefix}FLOP"
    return f"{amount(count)} FLOP"


def _sentence(summary: Summary, name: str) -> str | None:
    mine = {limit.mode: limit for limit in limits(summary) if limit.scenario == name}
    whole, alone = mine.get("end-to-end"), mine.get("compute-only")
    first = whole or alone
    if first is None:
        return None
    where = "end to end" if whole else "on compute alone"
    text = f"{name} reaches {percent(first.utilisation)} of what this machine's {first.ceiling.dtype} matrix "
    text += f"products reach, {where}"
    if whole and alone:
        text += f" ({percent(alone.utilisation)} on compute alone)"
    what = "its products" if first.floor.bound == "compute" else "moving its parameters"
    text += f": a step takes {milliseconds(first.step_seconds)}, and {what} alone take at least "
    return text + f"{milliseconds(first.floor.seconds)}."


def _phase(name: str) -> str:
    return "loader wait" if name == "pipeline" else name


def _share(value: float | None) -> str:
    return NOTHING if value is None else percent(value)
