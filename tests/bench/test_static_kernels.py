"""The Triton kernels as compiled for three architectures: within the limits, and as recorded; and the guard
itself can fail.
"""

import json
import os
import subprocess
import sys
from importlib import metadata
from io import StringIO
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from bench import static_kernels
from bench.static_kernels import (
    check_kernels,
    clean_environment,
    compile_kernels,
    run_static,
    triton_version,
)
from bench.static_record import (
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
from vicreg_fast.commands.bench_loss import loss
from vicreg_fast.errors import RecordError, UsageError, VICRegFastError
from vicreg_fast.loss.triton_configs import CENTRE, GRADIENT, PRODUCT, Tile

GOOD = KernelFigures(
    kernel="product_kernel",
    launch="bfloat16, gram",
    tile="128×128×64, 8 warps, 3 stages",
    arch=90,
    products="tensor-cores",
    registers=109,
    stack_bytes=0,
    spill_instructions=0,
    shared_bytes=98304,
    tensor_memory_columns=0,
    instructions=1119,
    async_copies={"LDGSTS.E.BYPASS.128": 24},
    matrix={"HGMMA.64x128x16.F32.BF16": 4},
    matrix_groups=1,
    fused_multiply_adds=33,
)
SCALAR = GOOD.model_copy(
    update={"launch": "float32, gram", "products": "float32", "matrix": {}, "matrix_groups": 0}
)
# What a launch of a whole loss compiles where a product may ask for more shared memory than a chip has.
TOO_LARGE = """
import torch
import torch.distributed as dist
from vicreg_fast.loss import triton_configs
from vicreg_fast.loss.triton_configs import Tile
triton_configs.PRODUCT[torch.bfloat16] = (Tile(rows=128, columns=128, depth=64, warps=8, stages=9),)
from bench import static_compile
static_compile.FORMS = {"gram": (256, 512, 1)}
static_compile.compile_in_place_of_launching()
for figures in static_compile.compile_loss(90, "bfloat16").values():
    print(figures.model_dump_json())
"""


@pytest.fixture(scope="module")
def kernels() -> tuple[KernelFigures, ...]:
    return compile_kernels()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_kernel_keeps_within_the_limits(kernels: tuple[KernelFigures, ...]) -> None:
    assert [str(finding) for finding in broken_limits(kernels)] == []


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_kernel_is_as_recorded(kernels: tuple[KernelFigures, ...]) -> None:
    version = triton_version()
    if version not in recorded_versions():
        pytest.skip(f"no record of Triton {version}; there are {', '.join(recorded_versions())}")
    assert [str(found) for found in changes(kernels, read_record(record_path(version)))] == []


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("arch", [80, 90, 100])
def test_every_committed_tile_is_compiled(kernels: tuple[KernelFigures, ...], arch: int) -> None:
    def tiles(kernel: str, precision: str) -> set[str]:
        return {
            figures.tile
            for figures in kernels
            if (figures.kernel, figures.arch) == (kernel, arch) and figures.launch.startswith(f"{precision},")
        }

    def named(committed: tuple[Tile, ...]) -> set[str]:
        return {str(tile) for tile in committed}

    for dtype in PRODUCT:
        for precision in ("float32", "tf32") if "float32" in str(dtype) else (str(dtype).split(".")[1],):
            assert tiles("product_kernel", precision) == named(PRODUCT[dtype])
            assert tiles("gradient_kernel", precision) == named(GRADIENT[dtype])
        assert tiles("centre_kernel", str(dtype).split(".")[1]) == named(CENTRE)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kernel", ["product_kernel", "gradient_kernel"])
def test_bfloat16_is_multiplied_by_wgmma_on_hopper(kernels: tuple[KernelFigures, ...], kernel: str) -> None:
    found = [
        figures
        for figures in kernels
        if (figures.kernel, figures.arch) == (kernel, 90) and figures.launch.startswith("bfloat16")
    ]
    assert found
    for figures in found:
        assert all(kind.startswith("HGMMA.64x") and kind.endswith(".F32.BF16") for kind in figures.matrix)
        assert 0 < figures.matrix_groups < sum(figures.matrix.values())


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_tile_over_the_limit_is_caught_when_it_is_compiled() -> None:
    """In the cache of the committed kernels, so that only the tile in question is compiled anew."""
    result = subprocess.run(
        [sys.executable, "-c", TOO_LARGE],
        env=clean_environment(cache_folder() / "static-kernels"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    figures = [KernelFigures.model_validate_json(line) for line in result.stdout.splitlines()]
    (found,) = broken_limits(figures)
    assert "product_kernel (bfloat16, gram; 128×128×64, 8 warps, 9 stages) sm_90" in str(found)
    assert "bytes of shared memory; sm_90 has 232448" in str(found)


def test_good_kernels_break_no_limit() -> None:
    assert broken_limits([GOOD, SCALAR]) == []


@pytest.mark.parametrize(
    ("figures", "what"),
    [
        (GOOD.model_copy(update={"stack_bytes": 8}), "spills registers: 8 bytes of stack"),
        (GOOD.model_copy(update={"spill_instructions": 3}), "3 loads and stores"),
        (GOOD.model_copy(update={"shared_bytes": 232449}), "232449 bytes of shared memory"),
        (GOOD.model_copy(update={"tensor_memory_columns": 513}), "513 columns of tensor memory"),
        (GOOD.model_copy(update={"matrix": {"HMMA.16816.F32": 64}}), "multiplies with HMMA.16816.F32"),
        (GOOD.model_copy(update={"matrix": {}}), "without the tensor cores"),
        (SCALAR.model_copy(update={"matrix": GOOD.matrix}), "float32 on the tensor cores"),
        (SCALAR.model_copy(update={"fused_multiply_adds": 0}), "without fused multiply-adds"),
    ],
)
def test_a_broken_limit_is_named(figures: KernelFigures, what: str) -> None:
    (found,) = broken_limits([figures])
    assert str(found).startswith(f"LIMIT {figures.name}: ")
    assert what in found.what


def test_a_serialized_wgmma_is_remarked_upon() -> None:
    serialized = GOOD.model_copy(update={"matrix_groups": 4})
    assert broken_limits([serialized]) == []
    assert remarks([GOOD]) == []
    (note,) = remarks([serialized])
    assert str(note).startswith(f"NOTE {GOOD.name}: waits for each matrix instruction")


def test_each_changed_figure_is_a_regression() -> None:
    before = GOOD.model_copy(update={"registers": 96, "matrix": {"HGMMA.64x64x16.F32.BF16": 8}})
    found = [str(finding) for finding in changes([GOOD], StaticRecord(triton="1", kernels=(before,)))]
    assert found == [
        f"REGRESSION {GOOD.name}: registers 96 → 109",
        f"REGRESSION {GOOD.name}: matrix 8 HGMMA.64x64x16.F32.BF16 → 4 HGMMA.64x128x16.F32.BF16",
    ]


def test_new_and_missing_kernels_are_reported() -> None:
    found = changes([GOOD], StaticRecord(triton="1", kernels=(SCALAR,)))
    assert [(finding.kind, finding.name) for finding in found] == [
        ("NEW", GOOD.name),
        ("MISSING", SCALAR.name),
    ]


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = StaticRecord(triton="1.2.3", kernels=(SCALAR, GOOD))
    path = record_path("1.2.3", tmp_path / "records")
    write_record(record, path)
    assert read_record(path).kernels == (GOOD, SCALAR)
    assert recorded_versions(path.parent) == ["1.2.3"]


@pytest.mark.parametrize("text", ["", "{", '{"triton": "1", "kernels": [{"kernel": "a"}]}'])
def test_a_file_that_is_no_record_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "triton-1.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecordError, match="--static --update"):
        read_record(path)


def test_a_compilation_sees_nothing_of_the_interpreter(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setenv("TRITON_PTXAS_PATH", "/elsewhere")
    environment = clean_environment(tmp_path)
    assert {name for name in environment if name.startswith("TRITON")} == {
        "TRITON_CACHE_DIR",
        "TRITON_STORE_BINARY_ONLY",
    }


def test_no_triton_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(package: str) -> str:
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(metadata, "version", missing)
    with pytest.raises(UsageError, match="pip install triton"):
        run_static(update=False, console=Console(file=StringIO()))


def test_a_kernel_that_does_not_compile_is_said_in_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "torch.py").write_text("raise RuntimeError('half installed')", encoding="utf-8")
    path = f"{tmp_path}{os.pathsep}{clean_environment(tmp_path)['PYTHONPATH']}"
    monkeypatch.setattr(static_kernels, "clean_environment", lambda cache: {"PYTHONPATH": path})
    with pytest.raises(VICRegFastError, match="did not compile: RuntimeError: half installed"):
        compile_kernels(tmp_path)


@pytest.fixture
def as_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static_kernels, "compile_kernels", lambda cache: (GOOD, SCALAR))


def ran(folder: Path, *, update: bool = False) -> tuple[int, list[str]]:
    out = StringIO()
    code = run_static(update=update, console=Console(file=out, width=130), folder=folder)
    return code, out.getvalue().splitlines()


@pytest.mark.usefixtures("as_compiled")
def test_a_version_without_a_record_is_said_to_be_not_compared(tmp_path: Path) -> None:
    write_record(StaticRecord(triton="0.1", kernels=(GOOD,)), record_path("0.1", tmp_path))
    code, lines = ran(tmp_path)
    assert code == 0
    assert lines[0].startswith("OK within the limits: 2 kernels")
    assert lines[0].endswith("NOT COMPARED: no record of this version (of: 0.1)")


@pytest.mark.usefixtures("as_compiled")
def test_update_writes_the_record_that_the_next_run_agrees_with(tmp_path: Path) -> None:
    assert ran(tmp_path, update=True)[0] == 0
    code, lines = ran(tmp_path)
    assert (code, lines[0][:10]) == (0, "OK: 2 kern")


@pytest.mark.usefixtures("as_compiled")
def test_a_doctored_record_is_a_regression(tmp_path: Path) -> None:
    ran(tmp_path, update=True)
    path = record_path(triton_version(), tmp_path)
    content = json.loads(path.read_text(encoding="utf-8"))
    content["kernels"][0]["instructions"] -= 1
    path.write_text(json.dumps(content), encoding="utf-8")
    code, lines = ran(tmp_path)
    assert code == 1
    assert lines[0].startswith("REGRESSION: 1 finding")
    assert lines[1] == f"REGRESSION {GOOD.name}: instructions 1118 → 1119"


def test_update_does_not_record_a_broken_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spilling = GOOD.model_copy(update={"stack_bytes": 8})
    monkeypatch.setattr(static_kernels, "compile_kernels", lambda cache: (spilling,))
    code, lines = ran(tmp_path, update=True)
    assert code == 1
    assert lines[1].startswith(f"LIMIT {GOOD.name}")
    assert recorded_versions(tmp_path) == []


def test_the_command_ends_with_the_verdicts_code(monkeypatch: pytest.MonkeyPatch) -> None:
    spilling = GOOD.model_copy(update={"stack_bytes": 8})
    monkeypatch.setattr(static_kernels, "compile_kernels", lambda cache: (spilling,))
    result = CliRunner().invoke(loss, ["--static"])
    assert result.exit_code == 1
    assert result.output.startswith("REGRESSION: ")


def test_the_committed_records_hold_to_the_limits() -> None:
    assert recorded_versions()
    for version in recorded_versions():
        record = read_record(record_path(version))
        assert record.triton == version
        check = check_kernels(record.kernels, version)
        assert (check.compared, check.findings) == (True, ())
