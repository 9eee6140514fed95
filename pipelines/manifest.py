"""Which images there are: discovery, a check of every file, and the identity of the set.

Every file is checked before any pipeline sees it, because one corrupt or empty file ends a DALI pipeline.
Files are never changed or deleted; what cannot be used is left out, and said.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from pipelines.image_check import Verdict, check_image
from pipelines.manifest_cache import Stamp, read_verdicts, write_verdicts
from vicreg_fast.errors import DataError

Split = Literal["train", "test"]
Progress = Callable[[int, int], None]
"""Called with (files done, files in all)."""

FOLDERS: dict[Split, tuple[str, ...]] = {"train": ("train",), "test": ("test", "val")}
PROGRESS_EVERY = 256


@dataclass(frozen=True, kw_only=True)
class SkippedFile:
    name: str
    """Relative to the manifest's root."""
    reason: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The usable images of one split, sorted by name; tuples run parallel to `files`."""

    root: Path
    """The split's own folder, absolute."""
    split: Split
    files: tuple[str, ...]
    """Relative to `root`."""
    labels: tuple[int, ...]
    """Index into `classes`; −1 for every file of a flat folder."""
    classes: tuple[str, ...]
    file_bytes: tuple[int, ...]
    heights: tuple[int, ...]
    """Pixels, as are widths."""
    widths: tuple[int, ...]
    formats: tuple[str, ...]
    """Pillow's name of each file's format, such as JPEG."""
    skipped: tuple[SkippedFile, ...]

    def __len__(self) -> int:
        return len(self.files)

    def path(self, index: int) -> str:
        return os.path.join(self.root, self.files[index])  # noqa: PTH118 (on the loader's hot path)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits, of the relative names and their sizes in bytes: equal for the same set in another
        place."""
        digest = hashlib.sha256()
        for name, size in zip(self.files, self.file_bytes, strict=True):
            digest.update(f"{name}\0{size}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()[:16]

    def summary(self) -> str:
        """One line on the skipped files, or "" when there are none."""
        if not self.skipped:
            return ""
        first = self.skipped[0]
        total = len(self.files) + len(self.skipped)
        return (
            f"{len(self.skipped)} of {total} files skipped, first: {first.name} ({first.reason}); "
            f"`vicreg-fast data check {self.root}` lists them"
        )

    def sizes(self, indices: Sequence[int]) -> tuple[list[int], list[int]]:
        """Heights and widths of these images, in pixels."""
        return [self.heights[index] for index in indices], [self.widths[index] for index in indices]

    def require_batch(self, batch_size: int, world_size: int = 1, batches_per_step: int = 1) -> None:
        """Raises DataError unless every one of `world_size` ranks has the images of one step,
        `batches_per_step` batches of `batch_size`, and pretraining two."""
        if len(self) < 2:
            raise DataError(
                f"{self.root}: one usable image; pretraining needs at least 2, and a whole batch of them"
            )
        parts = world_size * batches_per_step
        if len(self) < batch_size * parts:
            most = len(self) // parts * parts or len(self)
            raise DataError(
                f"{self.root}: {len(self)} usable images are less than a batch of {batch_size * parts}; "
                f"set batch_size to {most} or less (--set batch_size={most})"
            )

    def images_by_class(self) -> dict[str, int]:
        """Number of images of every class; {"(no labels)": n} for a flat folder."""
        counts = Counter(self.labels)
        if not self.classes:
            return {"(no labels)": len(self)}
        return {name: counts[label] for label, name in enumerate(self.classes)}

    def description(self) -> dict[str, str]:
        """What `vicreg-fast data info` prints of a split: label to text."""
        formats = Counter(self.formats)
        sides = sorted(zip(self.widths, self.heights, strict=True))
        per_class = sorted(self.images_by_class().values())
        return {
            "split": self.split,
            "folder": str(self.root),
            "images": str(len(self)),
            "classes": str(len(self.classes)) if self.classes else "none (no labels)",
            "images a class": f"{per_class[0]} to {per_class[-1]}" if self.classes else "–",
            "width × height": f"{sides[0][0]}×{sides[0][1]} to {sides[-1][0]}×{sides[-1][1]}, "
            f"middle {sides[len(sides) // 2][0]}×{sides[len(sides) // 2][1]}",
            "formats": ", ".join(f"{name} {count}" for name, count in formats.most_common()),
            "bytes": str(sum(self.file_bytes)),
            "skipped": str(len(self.skipped)),
            "fingerprint": self.fingerprint,
        }


def load_manifest(
    root: str | Path,
    *,
    split: Split = "train",
    check: Literal["quick", "full"] = "quick",
    threads: int | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """The images under `root`, each checked.

    `root` holds train/CLASS/* and test/CLASS/* (or val/CLASS/*), or CLASS/* alone, or images alone (label
    −1). The last two are a train split only. `check="full"` decodes every file; "quick" trusts a JPEG's
    header and end marker. Hidden files are not looked at. Raises DataError when the folder is missing, is no
    folder, cannot be listed, or holds no usable image.
    """
    folder = _split_folder(Path(root), split)
    found, classes = _discover(folder)
    if not found:
        raise DataError(
            f"{folder}: the folder is empty; put images in {folder}/CLASS/ or straight in {folder}/"
        )
    full = check == "full"
    stamps = {name: stamp for name, _, stamp in found if stamp is not None}
    verdicts = _verdicts(folder, [name for name, _, _ in found], stamps, full, threads, progress)
    good = [(name, label) for name, label, _ in found if verdicts[name].reason is None]
    skipped = [(name, verdicts[name].reason) for name, _, _ in found if verdicts[name].reason is not None]
    if not good:
        name, reason = skipped[0]
        raise DataError(
            f"{folder}: no usable image among {len(skipped)} files; the first is {name} ({reason})"
        )
    return Manifest(
        root=folder,
        split=split,
        files=tuple(name for name, _ in good),
        labels=tuple(label for _, label in good),
        classes=classes,
        file_bytes=tuple(stamps[name][0] for name, _ in good),
        heights=tuple(verdicts[name].height for name, _ in good),
        widths=tuple(verdicts[name].width for name, _ in good),
        formats=tuple(verdicts[name].format for name, _ in good),
        skipped=tuple(SkippedFile(name=name, reason=reason or "") for name, reason in skipped),
    )


def load_splits(
    root: str | Path, *, check: Literal["quick", "full"] = "quick", progress: Progress | None = None
) -> dict[Split, Manifest]:
    """Every split there is under `root`, train first. Raises DataError as `load_manifest` does for train."""
    splits: dict[Split, Manifest] = {
        "train": load_manifest(root, split="train", check=check, progress=progress)
    }
    if any((Path(root) / name).is_dir() for name in FOLDERS["test"]):
        splits["test"] = load_manifest(root, split="test", check=check, progress=progress)
    return splits


def _split_folder(root: Path, split: Split) -> Path:
    if not root.exists():
        raise DataError(f"{root}: no such folder; give a folder of images with --data")
    if not root.is_dir():
        raise DataError(f"{root}: is a file, not a folder; give the folder that holds the images")
    root = root.resolve()
    for name in FOLDERS[split]:
        if (root / name).is_dir():
            return root / name
    if split == "test":
        raise DataError(f"{root}: has no test/ or val/ folder; put labelled images in {root}/test/CLASS/")
    if any((root / name).is_dir() for name in FOLDERS["test"]):
        raise DataError(f"{root}: has a test folder but no train/ folder; put images in {root}/train/CLASS/")
    return root


def _discover(folder: Path) -> tuple[list[tuple[str, int, Stamp | None]], tuple[str, ...]]:
    """(name, label, stamp) of every file, sorted by name, and the classes. The stamp is None where a file
    cannot be reached."""
    try:
        entries = sorted(
            (entry for entry in os.scandir(folder) if not entry.name.startswith(".")), key=lambda e: e.name
        )
    except OSError as error:
        raise DataError(
            f"{folder}: the folder cannot be listed ({error.strerror}); grant read access to it"
        ) from error
    classes = tuple(
        entry.name for entry in entries if entry.is_dir() and next(_walk(folder, entry.name), None)
    )
    found: list[tuple[str, int, Stamp | None]] = []
    for label, name in enumerate(classes):
        found += [(file, label, _stamp(folder / file)) for file in _walk(folder, name)]
    if not classes:  # loose files beside class folders (a README, a list) are no part of the set
        found = [(entry.name, -1, _stamp(Path(entry.path))) for entry in entries if not entry.is_dir()]
    return found, classes


def _walk(folder: Path, below: str) -> Iterator[str]:
    for place, folders, files in os.walk(folder / below):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = os.path.relpath(place, folder)
        yield from (f"{inside}/{name}" for name in sorted(files) if not name.startswith("."))


def _stamp(path: Path) -> Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _verdicts(
    folder: Path,
    names: list[str],
    stamps: dict[str, Stamp],
    full: bool,
    threads: int | None,
    progress: Progress | None,
) -> dict[str, Verdict]:
    verdicts = read_verdicts(folder, stamps, full=full)
    unknown = [name for name in names if name not in verdicts]
    if not unknown:
        return verdicts
    with ThreadPoolExecutor(threads or min(32, 2 * (os.cpu_count() or 1))) as pool:
        checked = pool.map(lambda name: check_image(folder / name, full=full), unknown, chunksize=1)
        for done, (name, verdict) in enumerate(zip(unknown, checked, strict=True), start=1):
            verdicts[name] = verdict
            if progress is not None and (done % PROGRESS_EVERY == 0 or done == len(unknown)):
                progress(done, len(unknown))
    kept = {name: verdict for name, verdict in verdicts.items() if name in stamps}
    # A quick pass writes quick verdicts even for files once decoded whole: the stronger fact is not worth a
    # second field.
    write_verdicts(folder, stamps, kept, full=full)
    return verdicts
