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
        "samples": tuple(_sample(case, entries, name) for case in cases if (case, "naive") in entries),
    }


def _sample(case: str, entries: dict[tuple[str, str], dict[str, Any]], name: str) -> RegressionSample:
    """pytest-benchmark times one after the other: the i-th times are pairs by their place, not in time."""
    if (case, "case") not in entries:
        raise BaselineError(f"--against {name}: {case} was timed for the naive loss only; time both: {HOW}")
    ours, naive = entries[case, "case"], entries[case, "naive"]
    times = [entry.get("stats", {}).get("data") for entry in (ours, naive)]
    if not all(times):
        raise BaselineError(
            f"--against {name}: it holds no raw times of {case}; save it with --benchmark-json=FILE, "
            "or with --benchmark-save-data"
        )
    pairs = list(zip(*times, strict=False))
    return RegressionSample(
        case=case,
        side="base",
        round=0,
        position=0,
        attempt=0,
        pid=ours["extra_info"]["pid"],
        calls=ours["extra_info"]["calls"],
        naive_calls=naive["extra_info"]["calls"],
        seconds=tuple(pair[0] / ours["extra_info"]["calls"] for pair in pairs),
        naive_seconds=tuple(pair[1] / naive["extra_info"]["calls"] for pair in pairs),
    )
