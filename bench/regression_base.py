"""What a regression run compares with: a revision of the checkout, or times that were stored."""

import compileall
import io
import json
import subprocess
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.environment import SPEED_VARIABLES
from bench.record import Environment, read_records
from bench.regression_json import read_suite_json
from bench.regression_record import RegressionGate, RegressionPlan, RegressionSample
from vicreg_fast.errors import BaselineError

CHECKOUT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, kw_only=True)
class StoredBase:
    """Counts and times of an earlier run."""

    name: str
    source: Literal["records", "pytest-benchmark"]
    commit: str | None
    fingerprint: dict[str, str]
    cases: tuple[str, ...]
    counts: dict[str, dict[str, int]]
    """Case to quantity to count."""
    samples: tuple[RegressionSample, ...]
    """Of side base, attempt 0."""
    problems: tuple[str, ...] = ()
    """What could not be read of it."""


@dataclass(frozen=True, kw_only=True)
class RevisionBase:
    """A commit of the checkout that this code lies in."""

    name: str
    commit: str
    checkout: Path


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """A revision's files."""

    subject: Path
    """Holds `vicreg_fast` and nothing else."""
    cases: Path | None
    """Its own suite's cases, if it has a suite."""
    kernels: dict[str, str]
    """Triton version to the text of its static record."""


def find_base(against: str, checkout: Path = CHECKOUT) -> StoredBase | RevisionBase:
    """The file of that name, or a folder that holds records.jsonl, or else that revision. Raises
    BaselineError where it is none of these, or nothing that can be compared with."""
    path = Path(against)
    if path.is_dir() and (path / "records.jsonl").exists():
        path = path / "records.jsonl"
    if path.is_file():
        return _stored(path)
    commit = _git(checkout, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{against}^{{commit}}")
    if commit is not None:
        return RevisionBase(name=against, commit=commit.decode().strip(), checkout=checkout)
    if path.suffix in (".json", ".jsonl"):
        raise BaselineError(f"--against {against}: there is no such file")
    if _git(checkout, "rev-parse", "--git-dir") is None:
        raise BaselineError(
            f"--against {against}: there is no such file, and this vicreg-fast is not in a git checkout "
            "whose revision it could be; name a file of records, or run from a checkout"
        )
    raise BaselineError(
        f"--against {against}: neither a file nor a revision of this checkout; "
        "a shallow clone has only its last commits: git fetch --unshallow"
    )


def head_commit(checkout: Path = CHECKOUT) -> str | None:
    """The commit this code is of, edited or not; None where it is in no checkout."""
    if _git(checkout, "ls-files", "--error-unmatch", "bench/regression_base.py") is None:
        return None
    commit = _git(checkout, "rev-parse", "HEAD")
    return commit.decode().strip() if commit else None


def extract(base: RevisionBase, folder: Path) -> Extracted:
    """The revision's files, put into `folder`. Raises BaselineError where it has no loss."""
    archive = _git(base.checkout, "archive", "--format=tar", base.commit)
    if archive is None:
        raise BaselineError(f"--against {base.name}: git archive failed; try `git fsck`")
    subject, suite = folder / "subject", folder / "suite"
    kernels: dict[str, str] = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            if member.name.startswith("vicreg_fast/"):
                tar.extract(member, subject, filter="data")
            elif member.name == "bench/suite_loss/cases.py":
                tar.extract(member, suite, filter="data")
            elif member.name.startswith("bench/static/triton-"):
                file = tar.extractfile(member)
                assert file is not None
                version = Path(member.name).stem.removeprefix("triton-")
                kernels[version] = file.read().decode()
    if not (subject / "vicreg_fast" / "loss").is_dir():
        raise BaselineError(f"--against {base.name}: this revision has no vicreg_fast/loss")
    # Or the first side to import it would compile it, and begin with another heap than the others.
    compileall.compile_dir(subject, quiet=2)
    cases = suite / "bench/suite_loss/cases.py"
    return Extracted(subject=subject, cases=cases if cases.exists() else None, kernels=kernels)


def fingerprint(environment: Environment, *, device: str, threads: int, clock: str) -> dict[str, str]:
    """What has to be equal for times to be comparable, field to value. A variable that is not set is
    absent; the number of threads is what OMP_NUM_THREADS was set to."""
    versions = environment.versions
    on_gpu = device == "cuda"
    fields = {
        "processor": environment.processor,
        "cores": str(environment.cores),
        "device": device,
        "gpu": (environment.gpu or "none") if on_gpu else "none",
        "driver": (environment.driver or "none") if on_gpu else "none",
        "torch": versions.get("torch", "none"),
        "triton": versions.get("triton", "none"),
        "python": ".".join(versions["python"].split(".")[:2]),
        "threads": str(threads),
        "clock": clock,
    }
    variables = {
        name: environment.environment_variables[name]
        for name in SPEED_VARIABLES
        if name != "OMP_NUM_THREADS" and name in environment.environment_variables
    }
    return {**fields, **variables}


def _stored(path: Path) -> StoredBase:
    text = _text(path)
    try:
        content: Any = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    if isinstance(content, dict) and "benchmarks" in content:
        return StoredBase(name=path.name, source="pytest-benchmark", **read_suite_json(content, path.name))
    records, problems = read_records(path)
    plan = next((record for record in records if isinstance(record, RegressionPlan)), None)
    if plan is None:
        why = problems[0] if problems else "it holds no run of `bench loss --against`"
        raise BaselineError(
            f"--against {path.name}: not a base ({why}); name records.jsonl of an earlier run, or what "
            "pytest --benchmark-json wrote"
        )
    samples = [r for r in records if isinstance(r, RegressionSample) and r.side == "head" and not r.attempt]
    return StoredBase(
        name=path.name,
        source="records",
        commit=plan.head_commit,
        fingerprint=plan.head_fingerprint,
        cases=plan.head_cases,
        counts=_counts(record for record in records if isinstance(record, RegressionGate)),
        samples=tuple(sample.model_copy(update={"side": "base"}) for sample in samples),
        problems=tuple(problems),
    )


def _counts(gates: Iterable[RegressionGate]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for gate in gates:
        if gate.head is not None:
            counts.setdefault(gate.case, {})[gate.quantity] = gate.head
    return counts


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not UTF-8 text"
        raise BaselineError(f"--against {path}: cannot be read ({why})") from error


def _git(checkout: Path, *arguments: str) -> bytes | None:
    try:
        answer = subprocess.run(
            ["git", "-C", str(checkout), *arguments], capture_output=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout if answer.returncode == 0 else None
