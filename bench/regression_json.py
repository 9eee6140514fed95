"""pytest-benchmark's own JSON as a base: what `bench/suite_loss` wrote with --benchmark-json."""

from typing import Any

from bench.regression_record import RegressionSample
from vicreg_fast.errors import BaselineError

HOW = "pytest -c bench/suite_loss/pytest.ini bench/suite_loss --benchmark-json=FILE"


def read_suite_json(content: dict[str, Any], name: str) -> dict[str, Any]:
    """The fields of a StoredBase, but its name and source: one process's times, as round 0. Raises
    BaselineError where it is not of bench/suite_loss, or holds no raw times."""
    try:
        return _read(content, name)
    except (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise BaselineError(
            f"--against {name}: not as pytest-benchmark writes it ({type(error).__name__}); make it with "
            f"{HOW}"
        ) from error


def _read(content: dict[str, Any], name: str) -> dict[str, Any]:
    benchmarks = content["benchmarks"]
    entries: dict[tuple[str, str], dict[str, Any]] = {}
    for benchmark in benchmarks if isinstance(benchmarks, list) else []:
        info = benchmark.get("extra_info", {}) if isinstance(benchmark, dict) else {}
        if {"case", "subject", "calls", "fingerprint", "pid"} <= info.keys():
            entries[info["case"], info["subject"]] = benchmark
    if not entries:
        raise BaselineError(
            f"--against {name}: none of its benchmarks is of bench/suite_loss; write it with {HOW}"
        )
    cases = tuple(dict.fromkeys(case for case, _ in entries))
    first = next(iter(entries.values()))["extra_info"]
    return {
        "commit": (content.get("commit_info") or {}).get("id"),
        "fingerprint": dict(first["fingerprint"]),
        "cases": cases,
        "counts": {
            case: dict(entry["extra_info"].get("counts", {}))
            for (case, subject), entry in entries.items()
            if subject == "case"
        },
        "samples": tuple(sample for case in cases if (sample := _sample(case, entries, name)) is not None),
    }


def _sample(case: str, entries: dict[tuple[str, str], dict[str, Any]], name: str) -> RegressionSample | None:
    """None where only the naive loss was timed. Each time of the case has a neighbour: the naive loss in the
    set-up of its round. (The naive loss's own benchmark comes seconds later.)"""
    if (case, "case") not in entries:
        return None
    info = entries[case, "case"]["extra_info"]
    times = entries[case, "case"].get("stats", {}).get("data")
    if not times:
        raise BaselineError(
            f"--against {name}: it holds no raw times of {case}; save it with --benchmark-json=FILE, "
            "or with --benchmark-save-data"
        )
    return RegressionSample(
        case=case,
        side="base",
        round=0,
        position=0,
        attempt=0,
        pid=info["pid"],
        calls=info["calls"],
        naive_calls=info["other_calls"],
        seconds=tuple(seconds / info["calls"] for seconds in times),
        naive_seconds=tuple(info["beside_seconds"]),
    )
