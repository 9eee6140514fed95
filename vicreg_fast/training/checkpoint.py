"""Checkpoints that are whole or not there: written to a temporary file, fsynced, renamed; loaded with
`weights_only=True`."""

import contextlib
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vicreg_fast.config import FREE_ON_RESUME, Recipe
from vicreg_fast.errors import CheckpointError, UsageError

FORMAT = "vicreg-fast checkpoint"
FORMAT_VERSION = 2


def save_checkpoint(
    path: Path, content: dict[str, Any], *, before_rename: Callable[[Path], None] | None = None
) -> None:
    """Replaces `path` by `content` in one rename; after a failure the previous checkpoint stands as it was.
    `before_rename` is given the whole file under its temporary name.

    One process at a time may save to a path. The temporary file's name is fixed, so that what a killed run
    left of it is written over by the next. Raises CheckpointError when the folder or the disk does not take
    it.
    """
    scratch = path.with_name(f".{path.name}-new")
    try:
        with scratch.open("wb") as file:
            torch.save({"format": FORMAT, "format_version": FORMAT_VERSION, **content}, file)
            file.flush()
            os.fsync(file.fileno())
        if before_rename is not None:
            before_rename(scratch)
        scratch.replace(path)
        _sync_folder(path.parent)
    except (OSError, RuntimeError) as error:  # torch's zip writer reports a full disk as a RuntimeError
        reason = getattr(error, "strerror", None) or _first_line(error)
        kept = (
            "the checkpoint before it is kept" if path.exists() else "free some space or choose another --out"
        )
        raise CheckpointError(f"{path}: cannot be written ({reason}); {kept}") from error
    finally:
        with contextlib.suppress(OSError):  # nothing is there after the rename
            scratch.unlink(missing_ok=True)


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """The content as saved, its checksums compared: torch itself reads damaged weights without a word.

    Raises CheckpointError when there is none, or it is not a whole checkpoint of this program.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(damaged)
        content = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such checkpoint") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    except Exception as error:  # bytes that are no checkpoint end zipfile and pickle in any of a dozen ways
        raise CheckpointError(
            f"{path}: is not a whole checkpoint; it is damaged, or another kind of file"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path}: is not a vicreg-fast checkpoint")
    version = content.get("format_version")
    if not isinstance(version, int):
        raise CheckpointError(f"{path}: is not a vicreg-fast checkpoint (it has no version)")
    if version > FORMAT_VERSION:
        raise CheckpointError(f"{path}: is of a newer version of vicreg-fast; upgrade to read it")
    if version < FORMAT_VERSION:
        raise CheckpointError(f"{path}: is of an older version of vicreg-fast; start anew with another --out")
    return content


def checkpoint_to_resume(path: Path, recipe: Recipe) -> dict[str, Any] | None:
    """The checkpoint that a run of `recipe` goes on from, or None where there is none. Raises CheckpointError
    when it is of another recipe or unreadable.
    """
    if not path.exists():
        return None
    content = load_checkpoint(path)
    require_same_recipe(checkpoint_recipe(content, path), recipe, path)
    return content


def checkpoint_recipe(content: dict[str, Any], path: Path) -> Recipe:
    """The recipe a checkpoint was trained with."""
    try:
        return Recipe().replace(**content["recipe"])
    except (KeyError, TypeError, UsageError) as error:
        raise CheckpointError(f"{path}: its recipe cannot be read ({error})") from error


def require_same_recipe(saved: Recipe, asked: Recipe, where: Path) -> None:
    """Raises CheckpointError, naming the first key that differs, unless a run of `asked` may continue one of
    `saved`. Precision `auto` continues any: it is then the one of `saved`."""
    free = FREE_ON_RESUME | ({"precision"} if asked.precision == "auto" else set())
    for key in Recipe.model_fields:
        if key not in free and getattr(saved, key) != getattr(asked, key):
            raise CheckpointError(
                f"{where}: was trained with {key} = {getattr(saved, key)!r}, not {getattr(asked, key)!r}; "
                "choose another --out, or ask for the same recipe"
            )


def load_network(network: nn.Module, content: dict[str, Any], path: Path) -> None:
    """Puts the checkpoint's weights into `network`. Raises CheckpointError, naming the first that differs,
    unless all fit."""
    saved: dict[str, torch.Tensor] = content["train_step"]["network"]
    own = network.state_dict()
    for name in (*own, *saved):
        if name not in saved or name not in own:
            raise CheckpointError(f"{path}: is of another architecture ({name} is in only one of the two)")
        if saved[name].shape != own[name].shape:
            shapes = f"{tuple(saved[name].shape)}, not {tuple(own[name].shape)}"
            raise CheckpointError(f"{path}: is of another architecture ({name} is {shapes})")
    network.load_state_dict(saved)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
