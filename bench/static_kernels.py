"""`bench loss --static`: the Triton kernels guarded without a GPU.

Every committed configuration is compiled for sm_80, sm_90 and sm_100, and held to the limits of those chips
and to the committed record of the Triton version that is installed. How fast a kernel is, only a GPU says.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.static_record import (
    RECORDS,
    Finding,
    KernelFigures,
    StaticRecord,
    broken_limits,
    changes,
    read_record,
    record_path,
    recorded_versions,
    remarks,
    write_record,
)
from pipelines.manifest_cache import cache_folder
from vicreg_fast.errors import UsageError, VICRegFastError

PARTS = 2
"""Processes that compile at the same time."""
# All that a compilation may see of the environment: Triton's and its tools' variables change what they make.
KEPT_VARIABLES = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "SYSTEMROOT")


@dataclass(frozen=True, kw_only=True)
class StaticCheck:
    """The kernels as they are now, and what is to be said about them."""

    triton: str
    kernels: tuple[KernelFigures, ...]
    findings: tuple[Finding, ...]
    """Each of them fails the check."""
    notes: tuple[Finding, ...]
    compared: bool
    """Whether there is a record of this Triton version."""
    recorded: tuple[str, ...]
    """The Triton versions that have one."""

    @property
    def verdict(self) -> str:
        count = f"{len(self.kernels)} kernels of Triton {self.triton}"
        if self.findings:
            return f"REGRESSION: {len(self.findings)} findings in {count}"
        limits = "no spills, memory within the limits, the right matrix instructions"
        if self.compared:
            return f"OK: {count} are as recorded; {limits}"
        known = ", ".join(self.recorded) or "none"
        return (
            f"OK within the limits: {count}; {limits}. NOT COMPARED: no record of this version (of: {known})"
        )


def triton_version() -> str:
    """Raises UsageError where there is no Triton for NVIDIA's GPUs; its builds for others are named
    differently.
    """
    try:
        return metadata.version("triton")
    except metadata.PackageNotFoundError:
        raise UsageError(
            "--static: the package `triton`, which compiles the kernels, is not installed: pip install triton"
        ) from None


def compile_kernels(cache: Path | None = None) -> tuple[KernelFigures, ...]:
    """The figures of every kernel of the loss on every architecture.

    Compiles in two processes of a clean environment. Triton's cache lies in `cache`, by default in ours, so
    that a second call is quick. Raises VICRegFastError when a kernel does not compile.
    """
    environment = clean_environment(cache or cache_folder() / "static-kernels")
    processes = [
        subprocess.Popen(
            [sys.executable, "-P", "-m", "bench.static_compile", str(part), str(PARTS)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for part in range(PARTS)
    ]
    lines: list[str] = []
    problems: list[str] = []
    try:
        for process in processes:
            output, errors = process.communicate()
            lines += output.splitlines()
            if process.returncode:
                problems.append((errors.strip().splitlines() or [f"exit code {process.returncode}"])[-1])
    finally:
        for process in processes:
            process.kill()
            process.wait()
    if problems:
        raise VICRegFastError(f"the kernels did not compile: {problems[0]}")
    found: dict[str, KernelFigures] = {}
    for _, key, figures in sorted((json.loads(line) for line in lines), key=lambda entry: entry[0]):
        found.setdefault(key, KernelFigures.model_validate(figures))
    return tuple(sorted(found.values(), key=lambda figures: figures.configuration))


def clean_environment(cache: Path) -> dict[str, str]:
    """For a process that compiles: nothing of Triton's but its cache, and this very source first on the
    path.
    """
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    source = str(Path(__file__).resolve().parent.parent)
    return {
        **kept,
        "PYTHONPATH": source,
        "OMP_NUM_THREADS": "1",
        "TRITON_CACHE_DIR": str(cache),
        "TRITON_STORE_BINARY_ONLY": "1",  # not each stage's text beside the cubin
    }


def check_kernels(kernels: Sequence[KernelFigures], version: str, folder: Path = RECORDS) -> StaticCheck:
    """`kernels`, made by that Triton version, against the limits and its record in `folder`, if there is
    one. Raises RecordError when the record cannot be read.
    """
    path = record_path(version, folder)
    findings = broken_limits(kernels)
    if path.exists():
        findings += changes(kernels, read_record(path))
    return StaticCheck(
        triton=version,
        kernels=tuple(kernels),
        findings=tuple(findings),
        notes=tuple(remarks(kernels)),
        compared=path.exists(),
        recorded=tuple(recorded_versions(folder)),
    )


def run_static(*, update: bool, console: Console, cache: Path | None = None, folder: Path = RECORDS) -> int:
    """Compiles, prints the verdict, the findings and the table; the exit code: 0, or 1 for a regression.

    `update` writes the record of this Triton version anew, unless a kernel breaks a limit. Raises UsageError
    where Triton is not installed.
    """
    version = triton_version()
    with console.status(f"compiling the kernels with Triton {version}: a minute or two, the first time"):
        kernels = compile_kernels(cache)
    if update and not broken_limits(kernels):
        write_record(StaticRecord(triton=version, kernels=kernels), record_path(version, folder))
    check = check_kernels(kernels, version, folder)
    console.print(check.verdict, highlight=False, soft_wrap=True)
    for finding in (*check.findings, *check.notes):
        console.print(str(finding), highlight=False, markup=False, soft_wrap=True)
    console.print(figures_table(kernels))
    if update and not check.findings:
        console.print(f"record {record_path(version, folder)}", highlight=False, soft_wrap=True)
    return 1 if check.findings else 0


def figures_table(kernels: Sequence[KernelFigures]) -> Table:
    """A configuration a row, an architecture a column: registers a thread, KiB of shared memory a block,
    instructions, and those of the tensor cores.
    """
    architectures = sorted({figures.arch for figures in kernels})
    table = Table(caption="registers · KiB of shared memory · instructions · those of the tensor cores")
    for heading in ("kernel", "launch", "tile"):
        table.add_column(heading)
    for arch in architectures:
        table.add_column(f"sm_{arch}", justify="right")
    rows: dict[tuple[str, str, str], dict[int, str]] = {}
    for figures in kernels:
        matrix = sum(figures.matrix.values())
        cell = f"{figures.registers}·{figures.shared_bytes / 1024:.0f}·{figures.instructions}·{matrix}"
        rows.setdefault((figures.kernel, figures.launch, figures.tile), {})[figures.arch] = cell
    for names, cells in rows.items():
        table.add_row(*names, *(cells.get(arch, "-") for arch in architectures))
    return table


__all__ = ["StaticCheck", "check_kernels", "compile_kernels", "figures_table", "run_static", "triton_version"]
