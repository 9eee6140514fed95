"""The compiled Triton kernels of two revisions, from the static records that both have committed."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from bench.regression_record import RegressionGate
from bench.static_record import KernelFigures, StaticRecord
from vicreg_fast.errors import BaselineError

QUANTITIES = {
    "registers": lambda figures: figures.registers,
    "spills": lambda figures: figures.stack_bytes + figures.spill_instructions,
    "shared-bytes": lambda figures: figures.shared_bytes,
    "instructions": lambda figures: figures.instructions,
}


def static_records(checkout: Path) -> dict[str, str]:
    """Triton version to the text of its record."""
    return {
        path.stem.removeprefix("triton-"): path.read_text(encoding="utf-8")
        for path in sorted((checkout / "bench" / "static").glob("triton-*.json"))
    }


def kernel_gates(base: Mapping[str, str], head: Mapping[str, str]) -> list[RegressionGate]:
    """For each Triton version that both have a record of: a gate for every figure that differs or that one
    side lacks, and one for the number of kernels that are alike in every figure. Raises BaselineError for a
    record that cannot be read."""
    gates: list[RegressionGate] = []
    for version in sorted(base.keys() & head.keys()):
        before, now = (_kernels(side[version], version) for side in (base, head))
        alike = 0
        for name in dict.fromkeys([*before, *now]):
            differing = [
                RegressionGate(case=f"{name}, Triton {version}", quantity=quantity, base=was, head=is_now)
                for quantity, figure in QUANTITIES.items()
                if (was := figure(before[name]) if name in before else None)
                != (is_now := figure(now[name]) if name in now else None)
            ]
            gates += differing
            alike += not differing
        gates.append(
            RegressionGate(case=f"Triton {version}", quantity="kernels-alike", base=alike, head=alike)
        )
    return gates


def _kernels(text: str, version: str) -> dict[str, KernelFigures]:
    try:
        record = StaticRecord.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise BaselineError(
            f"triton-{version}.json: not a record of compiled kernels ({first['msg']})"
        ) from None
    return {figures.name: figures for figures in record.kernels}
