"""What runs in the process of one part of a proof: its commands, one after the other, as the command line
would run them, and the look at the machine that comes before all parts.

Called by `bench.proof_process` in a process that a fork server made; nothing here is called by the parent.
"""

import importlib
import importlib.util
import shutil
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import click

from bench.proof_parts import Command, Machine
from bench.proof_run import PartEnd, PartJob
from vicreg_fast.errors import VICRegFastError

if TYPE_CHECKING:
    from pipelines.manifest import Split

PHOTOS, PHOTO_SIZE = 2048, (500, 375)
"""Eight batches of 256; drawn at some 15 ms a core, they are there within seconds on 16 cores."""
SMALL = {False: (5000, 1000), True: (40, 20)}
"""Training and test images of the built-in set at 32×32, at full size and in a rehearsal."""


def survey(_: None = None) -> Machine | str:
    """This machine, as the parts need to know it; in a line, why torch cannot be used."""
    try:
        import torch
    except (ImportError, OSError) as error:
        return f"torch cannot be imported ({' '.join(str(error).split())[:100]})"
    from bench.environment import find_gpus, processor_name

    on_gpu = torch.cuda.is_available()
    if on_gpu:
        try:
            torch.zeros(1, device="cuda")
        except RuntimeError as error:
            return f"torch finds a CUDA device but cannot use it ({str(error).splitlines()[0][:100]})"
    name = torch.cuda.get_device_name() if on_gpu else processor_name()
    # As NVML names it where it answers: the records do so, too.
    names = find_gpus().names
    return Machine(
        device="cuda" if on_gpu else "cpu",
        name=names[0] if on_gpu and names else name,
        obstacles=_obstacles("cuda" if on_gpu else "cpu"),
    )


def _obstacles(device: str) -> dict[str, str]:
    from bench.scenarios import compiler_obstacle
    from pipelines.dali_views import require_dali
    from vicreg_fast.errors import UsageError
    from vicreg_fast.training.apex import find_apex

    found = {}
    try:
        require_dali(device)
    except UsageError as error:
        found["dali"] = str(error)
    for package in ("pytest", "hypothesis", "triton"):
        if importlib.util.find_spec(package) is None:
            found[package] = f"the package {package} is not installed"
    if not (repository() / "tests").is_dir():
        found["tests"] = "the tests are in the repository, and this is an installed package"
    if (why := compiler_obstacle(device)) is not None:
        found["compiler"] = why
    if (apex := find_apex()) != "kernels":
        found["apex"] = (
            "NVIDIA's apex is not installed" if apex in ("missing", "another") else "it has no kernels"
        )
    return found


def repository() -> Path:
    """The folder that holds our packages, and in a checkout the tests."""
    return Path(__file__).resolve().parents[2]


def run_part(job: PartJob) -> PartEnd:
    """Runs the commands of a part until one does not end with 0."""
    if job.rehearsal:
        import torch

        torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="vicreg-fast-proof-") as scratch:
        return _run_commands(job, Path(scratch))


def _run_commands(job: PartJob, scratch: Path) -> PartEnd:
    notes: list[str] = []
    places = _Places(job, notes, scratch)
    for command in job.part.commands:
        print(f"$ {command.shown()}", flush=True)
        words = tuple(places.fill(word) for word in command.words)
        # Pretraining itself has threads of DALI.
        forks = job.rehearsal and words[1] == "bench"
        with _toys() if forks else nullcontext():
            code, said = _run(command, words, job.folder)
        sys.stdout.flush()
        if said:
            notes.append(said)
        if code != 0:
            return PartEnd(code=code, detail="; ".join(notes) if said else "")
    return PartEnd(code=0, detail="; ".join(notes))


@contextmanager
def _toys() -> Iterator[None]:
    """For a rehearsal: what is started within takes no import of torch, and ceilings are those of small
    products and copies. A process that forks has one thread of torch here, and none of DALI or CUDA, which
    would not survive it."""
    from bench import comparison, roofline
    from pipelines import workers

    with (
        patch.object(comparison, "START_METHOD", "fork"),
        patch.object(workers, "START_METHOD", "fork"),
        patch.object(roofline, "PRODUCT_SECONDS", 1e-3),
        patch.object(roofline, "COPIED_BYTES", dict.fromkeys(roofline.COPIED_BYTES, 2**22)),
    ):
        yield


def _run(command: Command, words: tuple[str, ...], folder: Path) -> tuple[int, str]:
    """The exit code of one command, and what is to be said of it."""
    program, *arguments = words
    if program == "pytest":
        from bench.proof_tests import run_tests

        return run_tests(arguments, repository(), folder / "records.jsonl")
    sys.argv = list(words)
    if command.into is None:
        return _call(arguments), ""
    with (folder / command.into).open("w", encoding="utf-8") as file, redirect_stdout(file):
        return _call(arguments), ""


def _call(arguments: list[str]) -> int:
    """`vicreg-fast` with those arguments, and its exit code."""
    name, *rest = arguments
    module = importlib.import_module(f"vicreg_fast.commands.{name}")
    try:
        return int(module.command.main(rest, prog_name=f"vicreg-fast {name}", standalone_mode=False) or 0)
    except VICRegFastError as error:
        click.echo(f"vicreg-fast: {error}", err=True)
        return error.exit_code
    except click.ClickException as error:
        click.echo(f"vicreg-fast: {error.format_message()}", err=True)
        return error.exit_code
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except Exception as error:  # the parent reports it; the other parts go on
        traceback.print_exc()
        line = (str(error).strip().splitlines() or [""])[0]
        click.echo(f"vicreg-fast: {type(error).__name__}: {line}", err=True)
        return 1


class _Places:
    """What `{out}`, `{photos}` and `{small}` stand for; images are drawn when they are first asked for."""

    def __init__(self, job: PartJob, notes: list[str], scratch: Path) -> None:
        self._job = job
        self._notes = notes
        self._scratch = scratch
        self._small: Path | None = None

    def fill(self, word: str) -> str:
        if "{photos}" in word:
            word = word.replace("{photos}", str(self._photos()))
        if "{small}" in word:
            word = word.replace("{small}", str(self._images()))
        return word.replace("{out}", str(self._job.folder))

    def _photos(self) -> Path:
        from pipelines.builtin_set import builtin_set

        return builtin_set(train=PHOTOS, test=0, size=PHOTO_SIZE)

    def _images(self) -> Path:
        if self._small is None:
            from pipelines.builtin_set import builtin_set

            self._small = self._job.data
            train, test = SMALL[self._job.rehearsal]
            if self._small is None:
                self._small = builtin_set(train=train, test=test, size=(32, 32))
                self._notes.append("on the built-in 32×32 images: no --data")
            elif self._job.rehearsal:
                _copy_some(self._small, self._scratch, {"train": train, "test": test})
                self._small = self._scratch
                self._notes.append(f"on at most {train} training and {test} test images of --data")
        return self._small


def _copy_some(data: Path, into: Path, wanted: Mapping["Split", int]) -> None:
    """Copies so many images of each split, evenly from all, with their folders."""
    from pipelines.manifest import load_manifest

    for split, most in wanted.items():
        manifest = load_manifest(data, split=split)
        count = min(most, len(manifest))
        for number in range(count):
            name = manifest.files[number * len(manifest) // count]
            to = into / split / name
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(manifest.root / name, to)


__all__ = ["repository", "run_part", "survey"]
