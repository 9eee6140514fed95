"""The command line answers at once, says what there is, and refuses what there is not."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run, refused

COMMANDS = ("pretrain", "linear", "bench", "prove", "report", "data", "doctor")


def test_help_names_every_command(run: Run) -> None:
    done = run("--help")
    assert done.returncode == 0
    for command in COMMANDS:
        assert command in done.stdout


@pytest.mark.parametrize(
    "command",
    [
        (),
        *((name,) for name in COMMANDS),
        ("bench", "loss"),
        ("bench", "scaling"),
        ("data", "make"),
        ("report", "compare"),
    ],
)
def test_help_never_imports_torch(command: tuple[str, ...], environment: dict[str, str]) -> None:
    code = (
        "import sys; from vicreg_fast.cli import cli\n"
        f"cli.main([*{command!r}, '--help'], standalone_mode=False)\n"
        "loaded = {'torch', 'nvidia.dali', 'pandas', 'matplotlib', 'rich'} & set(sys.modules)\n"
        "sys.exit(f'imported {loaded}' if loaded else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout


def test_help_loads_nothing_but_click(environment: dict[str, str]) -> None:
    """So it answers at once. What each command is, the first page says without its module."""
    code = (
        "import sys; before = set(sys.modules)\n"
        "from vicreg_fast.cli import cli\n"
        "cli.main(['--help'], standalone_mode=False)\n"
        "loaded = {name for name in set(sys.modules) - before}\n"
        "ours = {name for name in loaded if name.startswith('vicreg_fast.commands.')}\n"
        "others = {name.partition('.')[0] for name in loaded} - sys.stdlib_module_names\n"
        "print(*sorted(ours), *sorted(others), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
    )
    assert done.stderr == "click vicreg_fast\n"


def test_unknown_command_and_option_are_usage_errors(run_here: Run) -> None:
    for arguments in (("pretrian",), ("pretrain", "--epohcs", "3"), ("pretrain", "--pipeline", "ffmpeg")):
        done = run_here(*arguments)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert "Error:" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--recipe", "cifar10-r81"], ["cifar10-r81", "did you mean 'cifar10-r18'"]),
        (["--set", "epoch=3"], ["--set", "did you mean 'epochs'"]),
        (["--set", "epochs=three"], ["epochs", "integer"]),
        (["--set", "optimizer=larss"], ["did you mean 'lars'"]),
        (["--set", "precision=fp16", "--set", "batch_size=8"], ["fp16", "CUDA", "bf16"]),
        (["--device", "cuda"], ["--device cpu"]),
    ],
)
def test_bad_recipes_are_usage_errors(
    run_here: Run, images: Path, tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    import torch

    if torch.cuda.is_available() and ("cuda" in arguments or "precision=fp16" in arguments):
        pytest.skip("is refused only where there is no CUDA device, and there is one")
    refused(run_here("pretrain", *arguments, "--data", images, "--out", tmp_path / "run"), 2, *words)


@pytest.mark.parametrize("name", ["bench", "pipelines", "reports"])
def test_a_package_that_shadows_ours_is_named(run: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("raise SystemExit('the wrong package ran')")
    done = run("--help", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    refused(done, 2, name, str(tmp_path / name), "PYTHONPATH")


def test_doctor_names_what_is_here_and_what_falls_back(run_here: Run) -> None:
    done = run_here("doctor", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == {
        "processor", "gpu", "driver", "torch", "torchvision", "precision", "dali", "triton", "nccl", "apex",
    }  # fmt: skip
    import torch

    assert found["torch"]["found"].startswith(torch.__version__)
    assert found["gpu"]["ok"] == torch.cuda.is_available()
    assert "views by" in found["dali"]["use"]
    assert run_here("doctor").returncode == 0


def test_doctor_says_what_auto_is_and_why(run_here: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VICREG_FAST_NO_BF16", "1")
    found = json.loads(run_here("doctor", "--json").stdout)["precision"]
    assert (found["found"], found["use"]) == ("VICREG_FAST_NO_BF16 is set", "precision=auto is fp32")
    assert not found["ok"]


def test_doctor_tells_the_unrelated_apex_from_nvidias(
    run_here: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)

    def apex(module: str) -> str:
        (tmp_path / module).write_text("")
        importlib.invalidate_caches()
        found: str = json.loads(run_here("doctor", "--json").stdout)["apex"]["found"]
        return found

    assert "not NVIDIA's" in apex("apex.py")
    assert apex("amp_C.py") == "NVIDIA apex"
