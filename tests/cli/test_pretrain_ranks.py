"""What `pretrain` refuses before it starts a rank, and what it plans. What ranks then do is tested in
tests/distributed/test_launched_pretraining.py.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.cli.conftest import TINY_OPTIONS, Run, refused
from vicreg_fast.commands.ranks import LaunchOptions, plan_launch, rank_command
from vicreg_fast.distributed.environment import RankEnvironment
from vicreg_fast.distributed.launch import LaunchPlan
from vicreg_fast.errors import UsageError

CPU, GPU = torch.device("cpu"), torch.device("cuda")
TORCHRUN = RankEnvironment(
    rank=0, local_rank=0, world_size=2, local_world_size=2, address="a", port=1, source="torchrun"
)
SLURM = replace(TORCHRUN, source="Slurm")


@pytest.fixture(autouse=True)
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.parametrize(
    ("options", "environment", "device", "planned"),
    [
        ({}, None, CPU, None),
        ({}, TORCHRUN, CPU, None),
        ({"ranks": 1}, None, CPU, None),
        ({"gpus": 1}, None, GPU, None),
        ({"ranks": 2}, None, CPU, LaunchPlan(ranks=2)),
        ({"gpus": 2}, None, GPU, LaunchPlan(ranks=2)),
        ({"ranks": 1, "max_restarts": 5}, None, CPU, LaunchPlan(ranks=1, max_restarts=5)),
        ({"ranks": 3, "max_restarts": 0}, None, CPU, LaunchPlan(ranks=3, max_restarts=0)),
        (
            {"nodes": 2, "rdzv_endpoint": "node1:29400", "rdzv_id": "7"},
            None,
            CPU,
            LaunchPlan(ranks=1, nodes=2, endpoint="node1:29400", run_id="7"),
        ),
        (  # each of Slurm's tasks is a node, which the place to meet says
            {"gpus": 2, "nodes": 3, "rdzv_endpoint": "node1:29400"},
            SLURM,
            GPU,
            LaunchPlan(ranks=2, nodes=3, endpoint="node1:29400"),
        ),
    ],
)
def test_what_is_started(
    options: dict[str, object],
    environment: RankEnvironment | None,
    device: torch.device,
    planned: LaunchPlan | None,
) -> None:
    assert plan_launch(LaunchOptions(**options), environment, device, "auto") == planned  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "environment", "device", "asked", "words"),
    [
        ({"gpus": 8}, None, GPU, "auto", "--gpus 8: this machine has 2; use --gpus 2"),
        ({"gpus": 2}, None, CPU, "auto", "--gpus 2: torch finds no CUDA device"),
        ({"gpus": 2}, None, CPU, "cpu", "--gpus 2: cannot be combined with --device cpu; use --ranks 2"),
        ({"ranks": 2}, None, GPU, "auto", "--ranks 2: is for --device cpu; use --gpus 2"),
        ({"gpus": 2, "ranks": 2}, None, GPU, "auto", "--gpus 2: cannot be combined with --ranks 2"),
        ({"gpus": 2}, TORCHRUN, GPU, "auto", "--gpus 2: torchrun has started the ranks already"),
        ({"max_restarts": 2}, SLURM, GPU, "auto", "--max-restarts 2: Slurm has started the ranks already"),
        (
            {"nodes": 2, "rdzv_endpoint": "a:1"},
            TORCHRUN,
            CPU,
            "cpu",
            "--nodes 2: torchrun has started the ranks already",
        ),
        ({"nodes": 2}, None, CPU, "cpu", "--nodes 2: needs --rdzv-endpoint HOST:PORT"),
        (
            {"nodes": 2, "rdzv_endpoint": "host"},
            None,
            CPU,
            "cpu",
            "--rdzv-endpoint host: must be HOST:PORT",
        ),
        ({"nodes": 2, "rdzv_endpoint": "host:0"}, None, CPU, "cpu", "--rdzv-endpoint host:0: must be"),
        ({"ranks": 2, "rdzv_endpoint": "a:1"}, None, CPU, "cpu", "--rdzv-endpoint a:1: needs --nodes"),
        ({"ranks": 2, "rdzv_id": "x"}, None, CPU, "cpu", "--rdzv-id x: needs --nodes"),
    ],
)
def test_what_is_refused(
    options: dict[str, object],
    environment: RankEnvironment | None,
    device: torch.device,
    asked: str,
    words: str,
) -> None:
    with pytest.raises(UsageError) as caught:
        plan_launch(LaunchOptions(**options), environment, device, asked)  # type: ignore[arg-type]
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)


def test_a_mistake_is_said_once_and_starts_nothing(run_here: Run, images: Path, tmp_path: Path) -> None:
    """Here too a start of ranks would show: as a second line, a folder or a minute."""
    common = ["pretrain", "--device", "cpu", "--recipe", "smoke", *TINY_OPTIONS, "--ranks", "3"]
    out = ["--out", tmp_path / "run"]
    done = run_here(*common, "--data", images, *out)
    refused(done, 2, "batch_size = 8 does not divide among 3 ranks", "--set batch_size=9")
    done = run_here(*common, "--data", tmp_path / "nowhere", *out, "--set", "batch_size=9")
    refused(done, 1, "nowhere: no such folder", "--data")
    (tmp_path / "file").touch()
    done = run_here(*common, "--data", images, "--out", tmp_path / "file", "--set", "batch_size=9")
    refused(done, 2, "is a file", "--out")
    assert not (tmp_path / "run").exists()


def test_a_torn_environment_is_a_usage_error(run_here: Run, images: Path, tmp_path: Path) -> None:
    done = run_here("pretrain", "--device", "cpu", "--data", images, RANK="0", WORLD_SIZE="2")
    refused(done, 2, "LOCAL_RANK: is not set", "torchrun")


def test_short_options_are_keys_of_the_recipe(run_here: Run, images: Path, tmp_path: Path) -> None:
    options = ("--optimizer", "adamw", "--capture", "off", "--keep", "2", "--pipeline", "torchvision")
    one_step = ("--set", "max_steps=1", "--set", "workers=0")
    done = run_here(
        "pretrain", "--device", "cpu", "--recipe", "smoke", "--data", images, *TINY_OPTIONS, *one_step,
        *options, "--out", tmp_path / "run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    recipe = (tmp_path / "run" / "recipe.toml").read_text()
    for line in (
        'optimizer = "adamw"',
        'capture = "off"',
        "keep_checkpoints = 2",
        'pipeline = "torchvision"',
    ):
        assert line in recipe


def test_a_rank_imports_from_where_its_launcher_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["vicreg-fast", "pretrain", "--ranks", "2"])
    monkeypatch.setattr(sys, "path", ["/somewhere/bin"])  # as a console script has it
    assert rank_command() == [sys.executable, "-P", "-m", "vicreg_fast", "pretrain", "--ranks", "2"]
    monkeypatch.setattr(sys, "path", [os.getcwd()])  # noqa: PTH109 (as `python -m` has it)
    assert rank_command()[1] == "-m"
