"""Verdicts on files, kept between runs in the user's cache folder.

The cache only saves time: what cannot be read, is of another version or does not look right is ignored and
written anew, and a folder that cannot be written means no cache. A verdict counts for as long as a file's
size and time of change stay.
"""

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path

import PIL
from platformdirs import user_cache_path

from pipelines.image_check import Verdict

VERSION = f"1-pillow-{PIL.__version__}"
"""A verdict is Pillow's, so another Pillow asks again."""

Stamp = tuple[int, int]
"""(size in bytes, time of change in ns)"""


def cache_folder() -> Path:
    """VICREG_FAST_CACHE, or the platform's cache folder for vicreg-fast."""
    chosen = os.environ.get("VICREG_FAST_CACHE")
    return Path(chosen) if chosen else user_cache_path("vicreg-fast")


def _cache_file(root: Path) -> Path:
    return cache_folder() / "manifests" / f"{hashlib.sha256(str(root).encode()).hexdigest()[:24]}.json"


def read_verdicts(root: Path, stamps: dict[str, Stamp], *, full: bool) -> dict[str, Verdict]:
    """Verdicts that still hold, by name; `full` takes only those of whole decodes. Empty when there is no
    usable cache."""
    try:
        content = json.loads(_cache_file(root).read_text(encoding="utf-8"))
        if content["version"] != VERSION or content["root"] != str(root):
            return {}
        verdicts = {}
        for name, stamp in stamps.items():
            entry = content["files"].get(name)
            if entry is None:
                continue
            size, changed, was_full, reason, height, width, kind = entry
            if not _well_formed(was_full, reason, height, width, kind):
                return {}
            if (size, changed) == stamp and (was_full or not full):
                verdicts[name] = Verdict(reason=reason, height=height, width=width, format=kind)
        return verdicts
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def write_verdicts(root: Path, stamps: dict[str, Stamp], verdicts: dict[str, Verdict], *, full: bool) -> None:
    """Keeps the lasting verdicts; a folder that cannot be written is passed over, since the cache only
    saves time."""
    files = {
        name: [*stamps[name], full, verdict.reason, verdict.height, verdict.width, verdict.format]
        for name, verdict in verdicts.items()
        if verdict.lasting
    }
    target = _cache_file(root)
    with contextlib.suppress(OSError):
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, suffix=".tmp")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump({"version": VERSION, "root": str(root), "files": files}, file)
            Path(temporary).replace(target)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise


def _well_formed(was_full: object, reason: object, height: object, width: object, kind: object) -> bool:
    sizes = all(isinstance(side, int) and side >= 0 for side in (height, width))
    return (
        sizes
        and isinstance(was_full, bool)
        and isinstance(kind, str)
        and (reason is None or isinstance(reason, str))
    )
