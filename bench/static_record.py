"""What a Triton kernel became for one architecture, the committed record of it, and what has changed since.

One record a Triton version, `bench/static/triton-VERSION.json`, one kernel a line. Against the record of the
same version everything is compared exactly; a version without one is held to the limits only. This module
imports neither torch nor Triton.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from vicreg_fast.errors import RecordError

RECORDS = Path(__file__).with_name("static")

# Shared memory that a block may opt in to, in bytes (CUDA C++ Programming Guide, compute capabilities).
SHARED_LIMIT = {80: 163 * 1024, 90: 227 * 1024, 100: 227 * 1024}
TENSOR_MEMORY_LIMIT = 512
"""Columns of an SM's tensor memory, from sm_100 on."""
# The instruction that feeds an architecture's tensor cores at their full rate, as SASS calls it: mma.sync,
# wgmma and tcgen05.mma.
MATRIX_INSTRUCTION = {80: r"HMMA\b", 90: r"HGMMA\b", 100: r"UTC\w*MMA\b"}

Arithmetic = Literal["tensor-cores", "float32", "none"]


class KernelFigures(BaseModel):
    """One compiled kernel. A configuration is the first four fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kernel: str
    launch: str
    """The first launch that needs it: the dtype, then the form of the loss."""
    tile: str
    arch: int
    """Compute capability times ten: 90 is sm_90."""

    products: Arithmetic
    """What multiplies its matrices, by its arguments; `none` where it multiplies none."""
    registers: int
    """Of a thread."""
    stack_bytes: int
    """Of a thread: where spilled registers go."""
    spill_instructions: int
    """Loads from and stores to that stack."""
    shared_bytes: int
    """Of a block."""
    tensor_memory_columns: int
    instructions: int
    """All of the kernel's, without the padding behind its end."""
    async_copies: dict[str, int]
    """Instructions that copy from global to shared memory past the registers, by their whole name."""
    matrix: dict[str, int]
    """Instructions of the tensor cores, by their whole name."""
    matrix_groups: int
    """Groups that warps issue them in without a wait between (sm_90; 0 elsewhere)."""
    fused_multiply_adds: int
    """float32 multiply-adds; one instruction for two counts as one."""

    @property
    def name(self) -> str:
        return f"{self.kernel} ({self.launch}; {self.tile}) sm_{self.arch}"

    @property
    def configuration(self) -> tuple[str, str, str, int]:
        return self.kernel, self.launch, self.tile, self.arch


class StaticRecord(BaseModel):
    """The kernels that one Triton version makes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    triton: str
    kernels: tuple[KernelFigures, ...]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing to say about one kernel."""

    kind: Literal["LIMIT", "REGRESSION", "MISSING", "NEW", "NOTE"]
    name: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: {self.what}"


def broken_limits(kernels: Iterable[KernelFigures]) -> list[Finding]:
    """What no kernel may do on its architecture: spill, ask for more memory than there is, or multiply
    matrices with another instruction than its arguments call for.
    """
    return [
        Finding(kind="LIMIT", name=figures.name, what=what)
        for figures in kernels
        for what in _broken_limits(figures)
    ]


def _broken_limits(figures: KernelFigures) -> list[str]:
    broken = []
    if figures.stack_bytes or figures.spill_instructions:
        broken.append(
            f"spills registers: {figures.stack_bytes} bytes of stack, "
            f"{figures.spill_instructions} loads and stores"
        )
    if figures.shared_bytes > SHARED_LIMIT[figures.arch]:
        broken.append(
            f"{figures.shared_bytes} bytes of shared memory; sm_{figures.arch} has "
            f"{SHARED_LIMIT[figures.arch]}"
        )
    if figures.tensor_memory_columns > TENSOR_MEMORY_LIMIT:
        broken.append(
            f"{figures.tensor_memory_columns} columns of tensor memory; there are {TENSOR_MEMORY_LIMIT}"
        )
    wanted = MATRIX_INSTRUCTION[figures.arch]
    others = [kind for kind in figures.matrix if not re.match(wanted, kind)]
    if others:
        broken.append(f"multiplies with {', '.join(others)}, not with the full-rate instruction")
    if figures.products == "tensor-cores" and not figures.matrix:
        broken.append("multiplies matrices without the tensor cores")
    if figures.products == "float32" and figures.matrix:
        broken.append(f"multiplies float32 on the tensor cores ({', '.join(figures.matrix)})")
    if figures.products == "float32" and not figures.fused_multiply_adds:
        broken.append("multiplies float32 matrices without fused multiply-adds")
    return broken


def remarks(kernels: Iterable[KernelFigures]) -> list[Finding]:
    """What costs speed and is no fault: whether ptxas serializes wgmma differs between its versions."""
    what = "waits for each matrix instruction before the next: ptxas has serialized wgmma"
    return [
        Finding(kind="NOTE", name=figures.name, what=what)
        for figures in kernels
        if 1 < sum(figures.matrix.values()) <= figures.matrix_groups
    ]


def changes(kernels: Sequence[KernelFigures], record: StaticRecord) -> list[Finding]:
    """Every figure that is not the record's, in whichever direction, and every kernel that only one side
    has.
    """
    recorded = {figures.configuration: figures for figures in record.kernels}
    found = []
    for figures in kernels:
        before = recorded.pop(figures.configuration, None)
        if before is None:
            found.append(Finding(kind="NEW", name=figures.name, what="is not in the record"))
            continue
        for field in KernelFigures.model_fields:
            was, now = getattr(before, field), getattr(figures, field)
            if was != now:
                what = f"{field} {_text(was)} → {_text(now)}"
                found.append(Finding(kind="REGRESSION", name=figures.name, what=what))
    found += [
        Finding(kind="MISSING", name=figures.name, what="is in the record and was not compiled")
        for figures in recorded.values()
    ]
    return found


def _text(value: object) -> str:
    if isinstance(value, dict):
        return " + ".join(f"{count} {kind}" for kind, count in value.items()) or "none"
    return str(value)


def record_path(triton_version: str, folder: Path = RECORDS) -> Path:
    return folder / f"triton-{triton_version}.json"


def recorded_versions(folder: Path = RECORDS) -> list[str]:
    """The Triton versions that have a record."""
    return sorted(path.stem.removeprefix("triton-") for path in folder.glob("triton-*.json"))


def read_record(path: Path) -> StaticRecord:
    """Raises RecordError when there is no such file, or it is not a record."""
    try:
        return StaticRecord.model_validate_json(path.read_bytes())
    except OSError as error:
        raise RecordError(f"{path}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise RecordError(
            f"{path}: not a record of compiled kernels ({place}: {first['msg']}); "
            "make it anew with `vicreg-fast bench loss --static --update`"
        ) from error


def write_record(record: StaticRecord, path: Path) -> None:
    """One kernel a line, in the order of the kernels' names, so that a difference reads well. Raises
    RecordError when it cannot be written.
    """
    kernels = sorted(record.kernels, key=lambda figures: figures.configuration)
    lines = ",\n  ".join(json.dumps(figures.model_dump(), ensure_ascii=False) for figures in kernels)
    head = f'"schema_version": {record.schema_version},\n "triton": {json.dumps(record.triton)}'
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'{{{head},\n "kernels": [\n  {lines}\n ]}}\n', encoding="utf-8")
    except OSError as error:
        raise RecordError(f"{path}: cannot be written ({error.strerror})") from error


__all__ = [
    "Finding",
    "KernelFigures",
    "StaticRecord",
    "broken_limits",
    "changes",
    "read_record",
    "record_path",
    "recorded_versions",
    "remarks",
    "write_record",
]
