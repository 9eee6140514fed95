"""What a user installs holds everything that runs, and nothing else."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

PACKAGES = ("vicreg_fast", "pipelines", "bench", "reports")
BUILD = """
import sys
from setuptools import build_meta
out = sys.argv[1]  # a build replaces sys.argv
build_meta.build_wheel(out)
build_meta.build_sdist(out)
"""


@pytest.fixture(scope="module")
def distributions(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist, built from a copy: a build writes beside its sources."""
    copy = tmp_path_factory.mktemp("source")
    for package in PACKAGES:
        shutil.copytree(root / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, copy / name)
    out = tmp_path_factory.mktemp("dist")
    result = subprocess.run(
        [sys.executable, "-c", BUILD, str(out)], cwd=copy, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return out


@pytest.fixture(scope="module")
def wheel(distributions: Path) -> set[str]:
    (file,) = distributions.glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def sdist(distributions: Path) -> set[str]:
    (file,) = distributions.glob("*.tar.gz")
    with tarfile.open(file) as archive:
        return {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}


@pytest.fixture(scope="module")
def shipped(root: Path, tracked: list[Path]) -> set[str]:
    """The tracked files of the four packages, as the archives name them."""
    names = {file.relative_to(root).as_posix() for file in tracked}
    return {name for name in names if name.startswith(tuple(f"{package}/" for package in PACKAGES))}


def test_the_wheel_holds_every_file_of_the_four_packages(wheel: set[str], shipped: set[str]) -> None:
    assert {name.split("/")[0] for name in shipped} == set(PACKAGES)
    assert shipped - wheel == set()


def test_the_sdist_builds_the_same_wheel_elsewhere(sdist: set[str], shipped: set[str]) -> None:
    needed = {"setup.cfg", "pyproject.toml", "README.md", "LICENSE"}
    assert (shipped | needed) - sdist == set()


def test_recipes_and_templates_ship(wheel: set[str]) -> None:
    assert "vicreg_fast/recipes/smoke.toml" in wheel
    assert "reports/templates/report.html.j2" in wheel


def test_the_wheel_holds_nothing_but_the_packages_and_their_metadata(wheel: set[str]) -> None:
    folders = {name.split("/")[0] for name in wheel}
    (metadata,) = folders - set(PACKAGES)
    assert metadata.endswith(".dist-info")
    assert f"{metadata}/licenses/LICENSE" in wheel
    assert not any("__pycache__" in name for name in wheel)


def test_the_license_is_apache_2_in_full(root: Path) -> None:
    text = (root / "LICENSE").read_text(encoding="utf-8")
    assert "Version 2.0, January 2004" in text
    for section in range(1, 10):
        assert f"\n   {section}. " in text
    assert "END OF TERMS AND CONDITIONS" in text
