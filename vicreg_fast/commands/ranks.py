"""Options that start several ranks, and what is checked before any of them starts."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from vicreg_fast.commands.common import F
from vicreg_fast.errors import UsageError

if TYPE_CHECKING:
    import torch

    from vicreg_fast.distributed.environment import RankEnvironment
    from vicreg_fast.distributed.launch import LaunchPlan

DEFAULT_RESTARTS = 3
DEFAULT_RUN_ID = "vicreg-fast"


@dataclass(frozen=True, kw_only=True)
class LaunchOptions:
    """As given on the command line; None where they were not."""

    gpus: int | None = None
    ranks: int | None = None
    nodes: int | None = None
    rdzv_endpoint: str | None = None
    rdzv_id: str | None = None
    max_restarts: int | None = None

    def given(self) -> list[str]:
        return [
            f"--{name.replace('_', '-')} {value}" for name, value in vars(self).items() if value is not None
        ]


def launch_options(command: F) -> F:
    """Adds the options of `LaunchOptions` to a command."""
    count = click.IntRange(min=1)
    options: list[Callable[[Any], Any]] = [
        click.option("--gpus", type=count, metavar="N", help="Train on N GPUs of this machine."),
        click.option("--ranks", type=count, metavar="N", help="With --device cpu: train on N processes."),
        click.option(
            "--nodes",
            type=count,
            metavar="N",
            help="Train on N machines; run the same command on each, with --rdzv-endpoint.  [default: 1]",
        ),
        click.option(
            "--rdzv-endpoint",
            metavar="HOST:PORT",
            help="Where the machines meet: one of them, and a port that is free there.",
        ),
        click.option(
            "--rdzv-id",
            metavar="ID",
            help="Tells runs that share an endpoint apart.  [default: vicreg-fast]",
        ),
        click.option(
            "--max-restarts",
            type=click.IntRange(min=0),
            metavar="N",
            help="How often all ranks restart from the last checkpoint after one has died.  [default: 3]",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def plan_launch(
    options: LaunchOptions, environment: "RankEnvironment | None", device: "torch.device", asked_device: str
) -> "LaunchPlan | None":
    """What this process is to start, or None where it trains itself. Raises UsageError when it can do
    neither."""
    from vicreg_fast.distributed.rank_report import is_launched

    given = options.given()
    if not given or is_launched():  # a rank has its launcher's command line
        return None
    if environment is not None and (environment.source == "torchrun" or options.rdzv_endpoint is None):
        raise UsageError(f"{given[0]}: {environment.source} has started the ranks already; leave it out")
    here = _ranks_here(options, device, asked_device)
    nodes = options.nodes or 1
    _check_meeting_place(options, nodes)
    if here == 1 and nodes == 1 and options.max_restarts is None:
        return None
    from vicreg_fast.distributed.launch import LaunchPlan

    return LaunchPlan(
        ranks=here,
        nodes=nodes,
        endpoint=options.rdzv_endpoint,
        run_id=options.rdzv_id or DEFAULT_RUN_ID,
        max_restarts=DEFAULT_RESTARTS if options.max_restarts is None else options.max_restarts,
    )


def rank_command() -> list[str]:
    """This process's own command line, to be run as a rank."""
    # The folder a user stands in is on a rank's path only where it is on this process's own.
    here = {"", os.getcwd()} & set(sys.path)  # noqa: PTH109 (as Python writes it there)
    return [sys.executable, *([] if here else ["-P"]), "-m", "vicreg_fast", *sys.argv[1:]]


def _ranks_here(options: LaunchOptions, device: "torch.device", asked_device: str) -> int:
    import torch

    gpus, ranks = options.gpus, options.ranks
    if gpus is not None and ranks is not None:
        raise UsageError(
            f"--gpus {gpus}: cannot be combined with --ranks {ranks}; one is for GPUs, the other for CPUs"
        )
    if gpus is not None:
        if asked_device == "cpu":
            raise UsageError(f"--gpus {gpus}: cannot be combined with --device cpu; use --ranks {gpus}")
        there = torch.cuda.device_count()
        if device.type != "cuda" or there == 0:
            raise UsageError(
                f"--gpus {gpus}: torch finds no CUDA device (see `vicreg-fast doctor`); "
                f"use --device cpu --ranks {gpus}"
            )
        if gpus > there:
            raise UsageError(f"--gpus {gpus}: this machine has {there}; use --gpus {there}")
    if ranks is not None and device.type != "cpu":
        raise UsageError(f"--ranks {ranks}: is for --device cpu; use --gpus {ranks}")
    return gpus or ranks or 1


def _check_meeting_place(options: LaunchOptions, nodes: int) -> None:
    endpoint = options.rdzv_endpoint
    if endpoint is None:
        if nodes > 1:
            raise UsageError(
                f"--nodes {options.nodes}: needs --rdzv-endpoint HOST:PORT, the same on every machine"
            )
        if options.rdzv_id is not None:
            raise UsageError(f"--rdzv-id {options.rdzv_id}: needs --nodes and --rdzv-endpoint")
        return
    if nodes == 1:
        raise UsageError(f"--rdzv-endpoint {endpoint}: needs --nodes, the number of machines that meet there")
    host, _, port = endpoint.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise UsageError(f"--rdzv-endpoint {endpoint}: must be HOST:PORT, such as node1:29400")
