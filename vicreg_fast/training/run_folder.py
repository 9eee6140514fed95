"""A run's folder: `recipe.toml`, `metrics.jsonl`, `checkpoint.pt`, and what keeps two runs, or a run and a
user's files, apart."""

import contextlib
import fcntl
import json
import os
import tomllib
from pathlib import Path
from typing import IO

from vicreg_fast.config import Recipe
from vicreg_fast.errors import CheckpointError, UsageError
from vicreg_fast.training.checkpoint import require_same_recipe


class RunFolder:
    """Opened for one run at a time; the lock goes with the process, however it ends.

    Opening makes the folder if need be. It refuses, with UsageError or CheckpointError, a folder of another
    run or of other files, one that another process trains in, and one that cannot be written. Nothing in it
    is changed before all of that is checked.
    """

    def __init__(self, path: Path, recipe: Recipe) -> None:
        self.path = path
        self.recipe_file = path / "recipe.toml"
        self.metrics_file = path / "metrics.jsonl"
        self.checkpoint_file = path / "checkpoint.pt"
        self._metrics: IO[str] | None = None
        self._wrote_recipe = False
        self._made_folder = False
        try:
            self._made_folder = not path.exists()
            if path.exists() and not path.is_dir():
                raise UsageError(f"{path}: is a file; name a folder with --out")
            if path.is_dir() and any(path.iterdir()) and not self.recipe_file.exists():
                raise UsageError(f"{path}: holds other files and no run; name a new folder with --out")
            path.mkdir(parents=True, exist_ok=True)
            self._lock = self.recipe_file.open("a+", encoding="utf-8")
        except OSError as error:
            raise CheckpointError(
                f"{path}: cannot be written ({error.strerror}); name another folder with --out"
            ) from error
        try:
            self._take_lock()
            self._settle_recipe(recipe)
        except BaseException:
            self.close()
            raise

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"{self.path}: another process is training there; wait for it, or name another --out"
            ) from error
        except OSError as error:
            raise CheckpointError(
                f"{self.recipe_file}: cannot be locked ({error.strerror}); "
                "name a folder on another disk with --out"
            ) from error

    def _settle_recipe(self, recipe: Recipe) -> None:
        try:
            self._lock.seek(0)
            text = self._lock.read()
            saved = Recipe().replace(**tomllib.loads(text)) if text.strip() else None
        except (OSError, ValueError, RecursionError, UsageError) as error:
            raise CheckpointError(
                f"{self.recipe_file}: cannot be read ({error}); name another folder with --out"
            ) from error
        if saved is not None:
            # Never written again: it may be one that the user wrote and put there.
            require_same_recipe(saved, recipe, self.path)
            return
        self._wrote_recipe = True
        try:
            self._lock.write(recipe.to_toml())
            self._lock.flush()
            os.fsync(self._lock.fileno())
        except OSError as error:
            raise CheckpointError(f"{self.recipe_file}: cannot be written ({error.strerror})") from error

    def start_metrics(self, from_step: int) -> None:
        """Opens `metrics.jsonl` for appending, without the lines of steps that were lost with a killed
        run."""
        scratch = self.metrics_file.with_name(".metrics.jsonl-new")
        try:
            kept = ""
            if self.metrics_file.exists():
                lines = self.metrics_file.read_text(encoding="utf-8", errors="replace").splitlines()
                kept = "".join(line + "\n" for line in lines if _step_of(line) <= from_step)
            scratch.write_text(kept, encoding="utf-8")
            scratch.replace(self.metrics_file)
            self._metrics = self.metrics_file.open("a", encoding="utf-8")
        except OSError as error:
            with contextlib.suppress(OSError):
                scratch.unlink(missing_ok=True)
            raise CheckpointError(f"{self.metrics_file}: cannot be written ({error.strerror})") from error

    def log(self, metrics: dict[str, float | int]) -> None:
        assert self._metrics is not None, "start_metrics comes first"
        try:
            self._metrics.write(json.dumps(metrics) + "\n")
            self._metrics.flush()
        except OSError as error:
            raise CheckpointError(f"{self.metrics_file}: cannot be written ({error.strerror})") from error

    def forget_unstarted(self) -> None:
        """Takes back what opening wrote, unless training began.

        A run that failed over its data or its batch size, say, has nothing to go on from, and the mended
        command may have another recipe, which must not meet this one.
        """
        if self._wrote_recipe and self._metrics is None:
            with contextlib.suppress(OSError):
                self.recipe_file.unlink()
                if self._made_folder:
                    self.path.rmdir()

    def close(self) -> None:
        if self._metrics is not None:
            # A full disk was reported where it happened; closing would flush, and raise it again over that
            # report.
            with contextlib.suppress(OSError):
                self._metrics.close()
        with contextlib.suppress(OSError):
            self._lock.close()

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _step_of(line: str) -> float:
    """A torn line counts as later than any step."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
