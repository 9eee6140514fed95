"""The numbers as pandas frames, with units in their column names; what was not measured is NaN."""

from functools import lru_cache
from typing import Any, Protocol

import pandas as pd

from bench.record import Environment
from reports.limits_samples import limits_samples
from reports.load import Report
from reports.summary import MODES, Summary
from reports.text import GIB

NAN = float("nan")


def throughput_frame(summary: Summary) -> pd.DataFrame:
    """One row a scenario and mode: median pairs/s over rounds with its interval, ratio to the baseline,
    loader wait."""
    rows = []
    for name in summary.scenarios:
        for mode in MODES:
            if rate := summary.rates.get((name, mode)):
                rows.append(
                    {
                        "scenario": name,
                        "mode": mode,
                        "pairs_per_second": rate.median.estimate,
                        "pairs_per_second_low": rate.median.low,
                        "pairs_per_second_high": rate.median.high,
                        "ratio": rate.ratio.estimate if rate.ratio else NAN,
                        "ratio_low": rate.ratio.low if rate.ratio else NAN,
                        "ratio_high": rate.ratio.high if rate.ratio else NAN,
                        "loader_wait_percent": NAN if rate.loader_wait is None else 100 * rate.loader_wait,
                        "rounds": len(rate.by_round),
                    }
                )
    columns = [
        "pairs_per_second",
        "pairs_per_second_low",
        "pairs_per_second_high",
        "ratio",
        "ratio_low",
        "ratio_high",
    ]
    return pd.DataFrame(rows, columns=["scenario", "mode", *columns, "loader_wait_percent", "rounds"])


def memory_frame(summary: Summary) -> pd.DataFrame:
    """One row a scenario: peaks in GiB, host over its start, and the ratio to the baseline."""
    rows = [
        {
            "scenario": name,
            "host_over_start_gib": peak.host_over_start / GIB,
            "device_gib": NAN if peak.device is None else peak.device / GIB,
            "ratio": NAN if peak.ratio is None else peak.ratio,
        }
        for name, peak in summary.peaks.items()
    ]
    return pd.DataFrame(rows, columns=["scenario", "host_over_start_gib", "device_gib", "ratio"])


def accuracy_frame(summary: Summary) -> pd.DataFrame:
    """One row a scenario or floor: linear top-1 in percent over seeds, and the difference to the baseline
    in points."""
    rows = []
    for name, probe in summary.probes.items():
        gap = probe.verdict.difference_points if probe.verdict else None
        rows.append(
            {
                "subject": name,
                "mean_percent": 100 * probe.mean,
                "sd_points": NAN if probe.sd is None else 100 * probe.sd,
                "difference_points": gap.estimate if gap else NAN,
                "difference_low": gap.low if gap and gap.samples > 1 else NAN,
                "difference_high": gap.high if gap and gap.samples > 1 else NAN,
                "verdict": probe.verdict.verdict if probe.verdict else "",
                "seeds": len(probe.by_seed),
                **{f"seed_{seed}_percent": 100 * value for seed, value in probe.by_seed.items()},
            }
        )
    columns = [
        "subject",
        "mean_percent",
        "sd_points",
        "difference_points",
        "difference_low",
        "difference_high",
    ]
    return pd.DataFrame(rows, columns=None if rows else [*columns, "verdict", "seeds"])


class Measured(Protocol):
    """Any report: it was measured somewhere."""

    @property
    def environments(self) -> tuple[Environment, ...]: ...


def environment_frame(report: Measured) -> pd.DataFrame:
    """One row a field of the fingerprint, one column a run."""
    runs = {}
    for number, environment in enumerate(report.environments, start=1):
        fields = environment.model_dump(
            exclude={"kind", "schema_version", "versions", "environment_variables"}
        )
        fields |= dict(sorted(environment.versions.items())) | dict(
            sorted(environment.environment_variables.items())
        )
        runs[f"run {number}" if len(report.environments) > 1 else "value"] = fields
    names = dict.fromkeys(name for fields in runs.values() for name in fields)
    return pd.DataFrame(
        [{"field": name, **{run: fields.get(name) for run, fields in runs.items()}} for name in names],
        dtype=object,
    )


def samples_frame(report: Report) -> pd.DataFrame:
    """Every raw number, one a row: what it is, of whom, where in the interleaving, its value and its unit."""
    rows: list[dict[str, Any]] = []
    for t in report.throughputs:
        place = {
            "kind": t.kind,
            "subject": t.scenario,
            "mode": t.mode,
            "round": t.round,
            "position": t.position,
        }
        place |= {"pid": t.pid, "steps": t.steps_per_window, "batch_size": t.batch_size}
        for window, seconds in enumerate(t.window_seconds):
            rows.append(place | {"window": window, "metric": "window", "value": seconds, "unit": "s"})
        for window, seconds in enumerate(t.loader_wait_seconds):
            rows.append(place | {"window": window, "metric": "loader_wait", "value": seconds, "unit": "s"})
    for s in report.startups:
        value = {"metric": "setup", "value": s.seconds, "unit": "s"}
        rows.append({"kind": s.kind, "subject": s.scenario} | value)
    for m in report.memories:
        for metric, size in m:
            if metric.endswith("_bytes") and size is not None:
                value = {"metric": metric.removesuffix("_bytes"), "value": size, "unit": "bytes"}
                rows.append({"kind": m.kind, "subject": m.scenario, "pid": m.pid} | value)
    for a in report.accuracies:
        place = {"kind": a.kind, "subject": a.subject, "seed": a.seed}
        for metric, unit in (
            ("linear_top1", "1"),
            ("knn_top1", "1"),
            ("pretrain_seconds", "s"),
            ("final_loss", "1"),
        ):
            if (number := getattr(a, metric)) is not None:
                rows.append(place | {"steps": a.steps, "metric": metric, "value": number, "unit": unit})
        for point in a.curve:
            after = place | {"steps": point.step, "seconds": point.seconds}
            rows.append(after | {"metric": "curve_linear_top1", "value": point.linear_top1, "unit": "1"})
    rows += limits_samples(report)
    columns = [
        "kind",
        "subject",
        "mode",
        "round",
        "position",
        "pid",
        "seed",
        "window",
        "batch_size",
        "steps",
        "seconds",
    ]
    return pd.DataFrame(rows, columns=[*columns, "metric", "value", "unit"], dtype=object)


@lru_cache(maxsize=1)
def samples_csv(report: Report) -> str:
    """`samples_frame` as CSV, numbers in full; kept for the page and the file of one report."""
    return str(samples_frame(report).to_csv(index=False, lineterminator="\n"))
