"""Which kinds of records a file holds, asked without loading them."""

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path


def record_files(paths: Sequence[Path]) -> list[Path]:
    """Each folder's records.jsonl, and files as they are."""
    return [path / "records.jsonl" if path.is_dir() else path for path in paths]


def record_kinds(path: Path) -> frozenset[str]:
    """The kinds of the records in a file or in a folder's records.jsonl, whether or not they can be loaded;
    none where it cannot be read.
    """
    (file,) = record_files([path])
    try:
        state = file.stat()
    except OSError:
        return frozenset()
    return _kinds_in(file, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=64)
def _kinds_in(file: Path, size: int, changed: int) -> frozenset[str]:
    found = set()
    try:
        with file.open(encoding="utf-8", newline="\n") as lines:
            for line in lines:
                try:
                    record = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                kind = record.get("kind") if isinstance(record, dict) else None
                if isinstance(kind, str):
                    found.add(kind)
    except (OSError, UnicodeDecodeError):
        return frozenset()
    return frozenset(found)
