"""What a part of a proof is given to work on."""

from pathlib import Path

import pytest

from bench.proof_parts import Part
from bench.proof_run import PartJob
from pipelines.builtin_set import CLASSES, make_builtin_set
from pipelines.manifest import load_manifest
from vicreg_fast.commands import prove_part
from vicreg_fast.commands.prove_part import _Places


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 training and 5 test images."""
    return make_builtin_set(tmp_path_factory.mktemp("data") / "set", train=60, test=5, size=(32, 32))


def places(data: Path, tmp_path: Path, *, rehearsal: bool) -> tuple[_Places, list[str]]:
    notes: list[str] = []
    part = Part(name="loss", commands=(), seconds=1)
    job = PartJob(part=part, folder=tmp_path / "out", rehearsal=rehearsal, data=data)
    return _Places(job, notes, tmp_path / "scratch"), notes


def test_a_rehearsal_takes_some_images_of_every_class(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(prove_part.SMALL, True, (20, 20))
    found, notes = places(data, tmp_path, rehearsal=True)
    small = Path(found.fill("{small}"))
    assert small == tmp_path / "scratch"
    train, test = load_manifest(small), load_manifest(small, split="test")
    assert (len(train), len(test)) == (20, 5)
    assert train.classes == load_manifest(data).classes
    assert set(train.labels) == set(range(len(CLASSES)))
    assert all(
        (data / "train" / name).read_bytes() == (small / "train" / name).read_bytes() for name in train.files
    )
    assert notes == ["on at most 20 training and 20 test images of --data"]
    assert found.fill("{small}/x") == f"{small}/x"
    assert len(notes) == 1


def test_a_proof_takes_all_of_them_where_they_are(data: Path, tmp_path: Path) -> None:
    found, notes = places(data, tmp_path, rehearsal=False)
    assert found.fill("--data={small}") == f"--data={data}"
    assert notes == []
