"""The set-up, with a Python that writes down what it is asked for in place of one that installs gigabytes."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

FAKE_PYTHON = """#!/bin/sh
case "$*" in
    *version_info*) exit "${TOO_OLD:-0}" ;;
    *ensurepip*) exit "${NO_VENV:-0}" ;;
    -V) echo "Python 3.9.2" ;;
    *"-m venv"*)
        for last; do :; done
        case "$*" in *--clear*) rm -rf "$last" ;; esac
        mkdir -p "$last/bin" && cp "$0" "$last/bin/python" ;;
    *"-m pip"*-e*) [ -z "$CUT" ] || exit 1 ;;
esac
echo "OMP_NUM_THREADS=$OMP_NUM_THREADS $*" >> "$CALLS"
"""


class Project:
    """A folder with the project's set-up files and the Python that only writes down."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.folder = folder
        self.calls_file = folder / "calls"
        for name in ("Makefile", "setup.cfg", "pyproject.toml", "constraints.txt"):
            shutil.copy(root / name, folder / name)
        self.python = folder / "fake-python"
        self.python.write_text(FAKE_PYTHON, encoding="utf-8")
        self.python.chmod(0o755)

    def make(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
        self.calls_file.unlink(missing_ok=True)
        return subprocess.run(
            ["make", f"PYTHON={self.python}", *arguments],
            cwd=self.folder,
            env={**kept, "CALLS": str(self.calls_file), **variables},
            capture_output=True,
            text=True,
            check=False,
        )

    def calls(self, part: str) -> list[str]:
        """The calls since the last `make` that contain `part`."""
        text = self.calls_file.read_text(encoding="utf-8") if self.calls_file.exists() else ""
        return [line for line in text.splitlines() if part in line]


@pytest.fixture
def project(root: Path, tmp_path: Path) -> Project:
    return Project(root, tmp_path)


def test_the_first_call_sets_up_and_the_second_does_not(project: Project) -> None:
    first = project.make("test")
    assert first.returncode == 0, first.stderr
    assert len(project.calls("-m venv")) == 1
    (install,) = project.calls("-e .")
    assert "-c constraints.txt" in install
    assert install.endswith("-e .[dev,cuda13]")
    assert project.calls("-m pytest")

    assert project.make("test").returncode == 0
    assert project.calls("-m venv") == project.calls("-m pip") == []
    assert project.calls("-m pytest")


@pytest.mark.parametrize("file", ["setup.cfg", "pyproject.toml", "constraints.txt"])
def test_a_changed_file_sets_up_again_in_place(project: Project, file: str) -> None:
    project.make("setup")
    later = (project.folder / ".venv" / ".installed").stat().st_mtime + 10
    os.utime(project.folder / file, (later, later))
    assert project.make("setup").returncode == 0
    assert len(project.calls("-e .")) == 1
    assert project.calls("--clear") == []


def test_a_set_up_that_was_cut_is_made_anew(project: Project) -> None:
    assert project.make("test", CUT="1").returncode != 0
    assert project.calls("-m pytest") == []
    assert project.make("test").returncode == 0
    assert len(project.calls("-m venv --clear")) == 1
    assert len(project.calls("-e .")) == 1
    assert project.make("test").returncode == 0
    assert project.calls("-m venv") == []


def test_an_update_that_was_cut_is_made_anew(project: Project) -> None:
    project.make("setup")
    later = (project.folder / ".venv" / ".installed").stat().st_mtime + 10
    os.utime(project.folder / "setup.cfg", (later, later))
    assert project.make("setup", CUT="1").returncode != 0
    assert project.make("setup").returncode == 0
    assert len(project.calls("-m venv --clear")) == 1


def test_an_environment_made_by_hand_is_kept(project: Project) -> None:
    keep = project.folder / ".venv" / "mine"
    keep.parent.mkdir()
    keep.touch()
    assert project.make("setup").returncode == 0
    assert keep.exists()


def test_other_extras_make_the_environment_anew_and_are_remembered(project: Project) -> None:
    project.make("setup")
    assert project.make("setup", "EXTRAS=dev,cuda12").returncode == 0
    assert len(project.calls("-m venv --clear")) == 1
    assert project.calls("-e .[dev,cuda12]")
    assert project.make("test").returncode == 0
    assert project.calls("-m venv") == []


@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        ((), {"TOO_OLD": "1"}, "3.11 or newer is needed"),
        ((), {"NO_VENV": "1"}, "python3-venv"),
        (("PYTHON=no-such-python",), {}, "no-such-python is not there"),
    ],
)
def test_a_python_that_will_not_do_is_named_and_nothing_is_made(
    project: Project, arguments: tuple[str, ...], variables: dict[str, str], message: str
) -> None:
    result = project.make("setup", *arguments, **variables)
    assert result.returncode == 2
    assert message in result.stderr
    assert not (project.folder / ".venv").exists()


def test_each_test_worker_has_one_thread_and_gets_the_arguments(project: Project) -> None:
    assert project.make("test", "ARGS=-k loss", OMP_NUM_THREADS="8").returncode == 0
    (call,) = project.calls("-m pytest")
    assert call.startswith("OMP_NUM_THREADS=1 ")
    assert "-n logical" in call
    assert call.endswith(" -k loss")


def test_clean_takes_the_environment_away_and_no_source(project: Project) -> None:
    project.make("setup")
    (project.folder / "runs").mkdir()
    assert project.make("clean").returncode == 0
    assert not (project.folder / ".venv").exists()
    assert (project.folder / "runs").is_dir()
    assert (project.folder / "setup.cfg").is_file()
