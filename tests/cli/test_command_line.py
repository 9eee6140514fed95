"""The command line as records hold it."""

import sys
from pathlib import Path

import pytest

from vicreg_fast.commands.common import command_line


@pytest.mark.parametrize(
    ("typed", "recorded"),
    [
        ("bench --data /srv/me/images/ --out ../runs/two", "bench --data images --out two"),
        ("bench --data=/srv/me/images --quick", "bench --data=images --quick"),
        (
            "pretrain --recipe my/own.toml --set note=a/b --out x/y",
            "pretrain --recipe own.toml --set note=a/b --out y",
        ),
        ("pretrain --set=note=a/b", "pretrain --set=note=a/b"),
        ("bench loss --against origin/main --strict", "bench loss --against origin/main --strict"),
        ("bench loss --against=origin/main", "bench loss --against=origin/main"),
        ("bench loss --against ./old/records.jsonl", "bench loss --against records.jsonl"),
        ("report runs/a runs/b", "report a b"),
    ],
    ids=["folders", "equals", "a recipe", "a key", "a revision", "a revision, equals", "a file", "arguments"],
)
def test_no_path_is_recorded_and_a_revision_is_no_path(
    typed: str, recorded: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old").mkdir()
    (tmp_path / "old/records.jsonl").touch()
    monkeypatch.setattr(sys, "argv", ["/usr/bin/vicreg-fast", *typed.split()])
    assert command_line() == f"vicreg-fast {recorded}"
