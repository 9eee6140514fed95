"""What a reader is shown of a scenario's name. Records, CSV, JUnit and options keep the name itself."""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TypeVar

from bench.record_base import RecordBase
from reports.load import Report

R = TypeVar("R", bound=RecordBase)


def shown_name(name: str) -> str:
    """Ours goes by the product's name: `vicreg-fast`, and `vicreg-fast-fused_loss` for a change of it."""
    return f"vicreg-{name}" if re.match(r"fast($|[+-])", name) else name


@lru_cache(maxsize=2)
def as_shown(report: Report) -> Report:
    """The report with every scenario by its shown name, from which whatever a reader sees is made."""
    plan = report.plan
    return replace(
        report,
        plan=plan.model_copy(
            update={
                "baseline": shown_name(plan.baseline),
                "contender": shown_name(plan.contender),
                "scenarios": tuple(
                    scenario.model_copy(update={"name": shown_name(scenario.name)})
                    for scenario in plan.scenarios
                ),
                "ladder": tuple(
                    rung.model_copy(
                        update={"forwards": _pair(rung.forwards), "backwards": _pair(rung.backwards)}
                    )
                    for rung in plan.ladder
                ),
            }
        ),
        throughputs=_renamed(report.throughputs),
        memories=_renamed(report.memories),
        accuracies=_renamed(report.accuracies, "subject"),
        failures=_renamed(report.failures),
        works=_renamed(report.works),
        energies=_renamed(report.energies),
        traces=_renamed(report.traces),
        startups=_renamed(report.startups),
    )


def _pair(names: tuple[str, str] | None) -> tuple[str, str] | None:
    return names and (shown_name(names[0]), shown_name(names[1]))


def _renamed(records: Sequence[R], field: str = "scenario") -> tuple[R, ...]:
    return tuple(record.model_copy(update={field: shown_name(getattr(record, field))}) for record in records)
