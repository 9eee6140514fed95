"""The import contract of setup.cfg holds, and would say so if it did not."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = ("vicreg_fast", "pipelines", "bench", "reports")


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    for package in PACKAGES:
        shutil.copytree(root / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "setup.cfg", tmp_path)
    return tmp_path


def test_the_layers_hold(root: Path) -> None:
    result = lint_imports(root)
    assert result.returncode == 0, result.stdout


def test_an_import_against_the_flow_is_named(copy: Path) -> None:
    (copy / "pipelines" / "backwards.py").write_text("import reports.render\n", encoding="utf-8")
    exchange = copy / "vicreg_fast" / "distributed" / "backwards.py"
    exchange.write_text("import vicreg_fast.loss.plan\n", encoding="utf-8")
    result = lint_imports(copy)
    assert result.returncode == 1
    assert "pipelines.backwards -> reports.render" in result.stdout
    assert "vicreg_fast.distributed.backwards -> vicreg_fast.loss.plan" in result.stdout


def test_reports_may_not_reach_torch_by_any_way(copy: Path) -> None:
    (copy / "bench" / "sideways.py").write_text("import torch\n", encoding="utf-8")
    (copy / "reports" / "heavy.py").write_text("import bench.sideways\n", encoding="utf-8")
    result = lint_imports(copy)
    assert result.returncode == 1
    assert "reports.heavy -> bench.sideways" in result.stdout
