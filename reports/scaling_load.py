"""Reading what `bench scaling` wrote."""

import math
from collections.abc import Sequence
from pathlib import Path

from bench.record import LossPrediction, read_records
from bench.scaling_record import OFFICIAL, OURS, Checked, ScalingRun
from reports.load import MOST_SECONDS
from reports.scaling import Scaling
from vicreg_fast.errors import RecordError

_RATES = ("tf32_tflops", "float32_tflops", "memory_gbytes", "link_gbytes", "latency_us", "kernel_us")


def load_scaling(paths: Sequence[Path]) -> Scaling:
    """The predictions of one run of `vicreg-fast bench scaling`; what could not be used is in `problems`.

    Raises RecordError, in one line, when there are several files, when the file cannot be read, or when no
    world size has a prediction of both losses.
    """
    if len(paths) != 1:
        raise RecordError("a scaling report is of one run: name one file that `bench scaling` wrote")
    (path,) = paths
    records, problems = read_records(path)
    predictions: dict[tuple[int, str], LossPrediction] = {}
    for record in records:
        if isinstance(record, LossPrediction):
            if fault := _fault(record):
                problems.append(f"{path.name}: prediction of {record.provider}: {fault}; left out")
            else:
                predictions[record.world_size, record.provider] = record
    paired = []
    for size in sorted({size for size, _ in predictions}):
        both = [predictions.get((size, provider)) for provider in (OURS, OFFICIAL)]
        found = [prediction for prediction in both if prediction is not None]
        if len(found) == 2:
            paired += found
        else:
            problems.append(f"{path.name}: on {size} ranks only one loss is predicted; left out")
    if not paired:
        why = f" ({problems[0]})" if problems else ""
        raise RecordError(
            f"{path}: no world size has a prediction of both losses{why}; give the whole file that "
            "`bench scaling` wrote"
        )
    checked = [record for record in records if isinstance(record, Checked)]
    usable = [one for one in checked if _is_time(one.predicted.seconds) and _is_time(*one.timing.seconds)]
    if len(usable) < len(checked):
        problems.append(f"{path.name}: {len(checked) - len(usable)} measurements are no times; left out")
    run = next((record for record in reversed(records) if isinstance(record, ScalingRun)), None)
    return Scaling(
        predictions=tuple(paired),
        checked=tuple(usable),
        measured_on=run.measured_on if run else (),
        command=run.command if run else "vicreg-fast bench scaling",
        problems=tuple(problems),
    )


def _fault(prediction: LossPrediction) -> str | None:
    """Why it cannot be shown; None when it can."""
    if prediction.provider not in (OURS, OFFICIAL):
        return "no such loss"
    if prediction.world_size < 1:
        return f"{prediction.world_size} is no number of ranks"
    if not _is_time(prediction.seconds):
        return f"{prediction.seconds} seconds is not a time"
    for name in (*_RATES, f"{prediction.dtype}_tflops", "capacity_gbytes"):
        rate = prediction.rates.get(name)
        if not isinstance(rate, int | float) or not math.isfinite(rate):
            return f"its rates have no {name}"
    return None if isinstance(prediction.rates.get("name"), str) else "its rates have no name"


def _is_time(*seconds: float) -> bool:
    return bool(seconds) and all(0 < second < MOST_SECONDS for second in seconds)  # NaN is not
