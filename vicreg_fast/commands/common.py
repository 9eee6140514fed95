"""What several subcommands share: options, the device, the data, progress."""

import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

import click

from vicreg_fast.config import Recipe, load_recipe
from vicreg_fast.errors import UsageError

if TYPE_CHECKING:
    import torch
    from rich.console import Console

    from bench.record import RecordWriter

F = TypeVar("F", bound=Callable[..., Any])

BUILTIN_TRAIN, BUILTIN_TEST = 2000, 1000

data_option = click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of images: train/CLASS/*.jpg and test/CLASS/*.jpg, or a flat folder to pretrain without "
    "labels. Default: the built-in set, drawn on first use.",
)
device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cuda", "cpu"]),
    default="auto",
    show_default=True,
    help="Where to compute; auto uses a GPU if there is one.",
)
recipe_option = click.option(
    "--recipe",
    "recipe_name",
    metavar="NAME|FILE",
    help="A built-in recipe, or a TOML file. Default: smoke on a CPU, imagenet-r50-100ep on a GPU.",
)
set_option = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a key of the recipe; may be repeated.",
)
out_option = click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder for the records and the report.  [default: a new one in runs/]",
)


def output_folder(out: Path | None, kind: str) -> Path:
    """Where records go: the folder asked for, or a new one named for the time."""
    return out or Path("runs") / f"{kind}-{datetime.now(UTC):%Y%m%d-%H%M%S}"


def new_records_folder(out: Path | None, kind: str) -> Path:
    """The same, where there are no records yet. Raises UsageError where there are: none is written over."""
    folder = output_folder(out, kind)
    if (folder / "records.jsonl").exists():
        raise UsageError(f"{folder}: holds records already; choose another folder with --out")
    return folder


@contextmanager
def recording(records: Path) -> Iterator["RecordWriter"]:
    """A writer into that file, closed at the end; an interruption is told where to find what was measured."""
    from bench.record import RecordWriter

    writer = RecordWriter(records)
    try:
        yield writer
    except (KeyboardInterrupt, SystemExit):
        click.echo(f"vicreg-fast: what was measured is in {records}", err=True)
        raise
    finally:
        writer.close()


def command_line() -> str:
    """As typed, with no path in it: records travel."""
    words = ["vicreg-fast"]
    option = ""
    for word in sys.argv[1:]:
        if word.startswith("--"):
            option, equals, value = word.partition("=")
            words.append(option + equals + _without_folder(option, value))
        else:
            words.append(_without_folder(option, word))
            option = ""
    return shlex.join(words)


def _without_folder(option: str, value: str) -> str:
    """A path's last part. A recipe's key is no path, and what --against names is one only where it is
    there: else it is a revision, such as origin/main."""
    if "/" not in value or option == "--set" or (option == "--against" and not Path(value).exists()):
        return value
    return Path(value).name


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, so that what it started and made is cleaned up, and the process
    with 143. Where something handles SIGTERM already, that goes on doing so."""
    if signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def end(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)  # once: what cleans up is not interrupted
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def choose_device(asked: str) -> "torch.device":
    """Raises UsageError when CUDA is asked for and is not there."""
    import torch

    if asked == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if asked == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "--device cuda: torch finds no CUDA device (see `vicreg-fast doctor`); use --device cpu"
        )
    return torch.device(asked)


def choose_recipe(name: str | None, settings: tuple[str, ...], device: "torch.device") -> Recipe:
    """The recipe asked for, or the default of the device."""
    return load_recipe(name or ("smoke" if device.type == "cpu" else "imagenet-r50-100ep"), settings)


def choose_data(data: Path | None, recipe: Recipe) -> tuple[Path, str]:
    """The data set's folder and its name in words; the built-in set is drawn if it is not there yet."""
    if data is not None:
        return data, data.name or str(data)
    from pipelines.builtin_set import builtin_set

    small = recipe.image_size <= 64
    size = (80, 80) if small else (500, 375)
    train = max(BUILTIN_TRAIN, 2 * recipe.batch_size)
    with progress_bar("drawing the built-in data set") as advance:
        folder = builtin_set(train=train, test=BUILTIN_TEST, size=size, progress=advance)
    return folder, f"built-in set, {size[0]}×{size[1]} pixels"


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """Gives a function of (done, total). Nothing is shown before the first call, nor where stderr is not a
    terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = stderr_console()
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    ) as progress:
        task = None

        def advance(done: int, total: int) -> None:
            nonlocal task
            if task is None:
                task = progress.add_task(label, total=total)
            progress.update(task, completed=done, total=total)

        yield advance


def stdout_console() -> "Console":
    """As wide as the terminal; in a log or a pipe, where rich would take 80 columns, wide enough for the
    tables."""
    from rich.console import Console

    class Piped(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # is for the command line to judge: rich would end with 1, as of a failure

    console = Piped()
    return console if console.is_terminal else Piped(width=130)


def stderr_console() -> "Console":
    from rich.console import Console

    return Console(stderr=True)


class StopRequest:
    """Turns the first SIGINT or SIGTERM into a question that a loop asks; a second SIGINT interrupts at
    once."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __call__(self) -> bool:
        return self.signal is not None

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)
        if sys.stderr.isatty():
            click.echo("stopping after this step; again to stop at once", err=True)

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @property
    def exit_code(self) -> int:
        return stop_exit_code(self.signal)


def stop_exit_code(number: signal.Signals | None) -> int:
    """130 after SIGINT; 0 after SIGTERM, by which schedulers end a job that has done right."""
    return 130 if number == signal.SIGINT else 0


@contextmanager
def stage_view() -> Iterator[Callable[[str, int, int], None]]:
    """Gives a function of (stage, done, total): one live line with a bar and the time so far on a terminal,
    nothing elsewhere."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    console = stderr_console()
    with Progress(
        SpinnerColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    ) as progress:
        task = progress.add_task("", total=None)

        def show(stage: str, done: int, total: int) -> None:
            progress.update(task, description=stage, completed=done, total=total)

        yield show
