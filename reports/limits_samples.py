"""The raw numbers about limits, one a row, for `reports.frames.samples_frame`."""

from collections.abc import Iterator
from typing import Any

from reports.load import Report

ENERGY_STATE = (("sm_clock_mhz", "MHz"), ("memory_clock_mhz", "MHz"), ("temperature_celsius", "°C"))


def limits_samples(report: Report) -> Iterator[dict[str, Any]]:
    """Energies by window with the device's state by round, ceilings, works and traces."""
    for e in report.energies:
        place = {"kind": e.kind, "subject": e.scenario, "mode": e.mode, "round": e.round}
        for window, joules in enumerate(e.joules):
            yield place | {"window": window, "metric": "joules", "value": joules, "unit": "J"}
        for metric, unit in ENERGY_STATE:
            if (value := getattr(e, metric)) is not None:
                yield place | {"metric": metric, "value": value, "unit": unit}
    for c in report.ceilings:
        place = {"kind": c.kind, "subject": c.dtype}
        yield place | {"metric": "products", "value": c.flops_per_second, "unit": "FLOP/s"}
        yield place | {"metric": "copies", "value": c.bytes_per_second, "unit": "bytes/s"}
    for w in report.works:
        for metric, count in w:
            if metric.endswith(("_flops", "_bytes")):
                unit = "FLOP" if metric.endswith("_flops") else "bytes"
                place = {"kind": w.kind, "subject": w.scenario, "batch_size": w.batch_size}
                yield place | {"metric": metric.rpartition("_")[0], "value": count, "unit": unit}
    for t in report.traces:
        place = {"kind": t.kind, "subject": t.scenario, "steps": t.steps}
        yield place | {"metric": "traced_step", "value": t.step_seconds, "unit": "s"}
        for phase, share in {**t.host, **(t.device_work or {})}.items():
            yield place | {"metric": phase, "value": share, "unit": "1"}
