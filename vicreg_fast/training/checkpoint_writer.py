"""Checkpoints written beside the training: the step goes on while a thread writes, fsyncs and renames.

The latest is always `checkpoint.pt`. With `keep` > 1 the last `keep` are also `checkpoints/step-N.pt`, and
the one of the lowest loss is `best.pt`. They are further names (hard links) of the same files, where the disk
has those.
"""

import contextlib
import os
import re
import shutil
import threading
from pathlib import Path
from typing import Any

from vicreg_fast.errors import CheckpointError
from vicreg_fast.training.checkpoint import save_checkpoint
from vicreg_fast.training.snapshot import Snapshot

FOLDER = "checkpoints"
BEST = "best.pt"


class CheckpointWriter:
    """Writes one checkpoint at a time to `path`; what was handed over is on the disk when `wait` returns."""

    def __init__(self, path: Path, *, keep: int = 1) -> None:
        self.path = path
        self.keep = keep
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def save(self, state: dict[str, Any], step: int, *, best: bool = False) -> None:
        """Copies `state` and returns; the writing goes on. Waits for the checkpoint before it, if that is not
        written yet. Raises CheckpointError when that one could not be.
        """
        self.wait()
        snapshot = Snapshot(state)
        # Not a daemon: a process that ends on its own ends with a whole checkpoint.
        self._thread = threading.Thread(
            target=self._write,
            args=(snapshot, step, best),
            name="checkpoint writer",
            daemon=False,
        )
        self._thread.start()

    def wait(self) -> None:
        """Returns when nothing is being written. Raises CheckpointError when the last could not be."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def close(self) -> None:
        """Waits, and says nothing: for the way out after another failure."""
        with contextlib.suppress(CheckpointError):
            self.wait()

    def _write(self, snapshot: Snapshot, step: int, best: bool) -> None:
        folder = self.path.parent / FOLDER
        names = []
        if self.keep > 1:
            names.append(folder / f"step-{step:08d}.pt")
            names += [self.path.with_name(BEST)] if best else []
        problem: OSError | None = None

        def name_also(written: Path) -> None:
            # Before its own name: a run killed between them saves this step again, and names it again.
            nonlocal problem
            try:
                for name in names:
                    name.parent.mkdir(exist_ok=True)
                    _name_also(written, name)
            except OSError as error:  # the latest is to be written all the same
                problem = error

        try:
            save_checkpoint(self.path, snapshot.content(), before_rename=name_also)
            if problem is None and self.keep > 1:
                for old in kept_checkpoints(folder, until=step)[: -self.keep]:
                    old.unlink(missing_ok=True)
        except OSError as error:
            problem = error
        except BaseException as error:  # told to the thread that trains, when it next asks
            self._failure = error
        if problem is not None and self._failure is None:
            self._failure = CheckpointError(
                f"{self.path.parent}: older checkpoints cannot be kept ({problem.strerror}); "
                "the latest is written"
            )


def kept_checkpoints(folder: Path, *, until: int) -> list[Path]:
    """The numbered checkpoints up to that step, oldest first. Later ones are of a run that was set back: it
    writes over them as it gets there.
    """
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := _NUMBERED.match(path.name))]
    return [path for step, path in sorted(found) if step <= until]


_NUMBERED = re.compile(r"step-(\d{8,})\.pt$")


def _name_also(path: Path, other: Path) -> None:
    """`other` becomes, in one rename, a second name of the file."""
    scratch = other.with_name(f".{other.name}-new")
    scratch.unlink(missing_ok=True)
    try:
        os.link(path, scratch)
    except OSError:  # a disk without hard links
        shutil.copyfile(path, scratch)
    scratch.replace(other)


__all__ = ["BEST", "FOLDER", "CheckpointWriter", "kept_checkpoints"]
