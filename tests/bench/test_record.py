"""Records: what is written is read again, and what cannot be read is said line by line."""

import json
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from bench.record import (
    Accuracy,
    AccuracyPoint,
    Environment,
    Failure,
    LossTiming,
    Memory,
    Plan,
    Record,
    RecordWriter,
    Scenario,
    Throughput,
    read_records,
)
from vicreg_fast.errors import RecordError

SCENARIO = Scenario(
    name="fast", description="ours", pipeline="dali", precision="bf16", memory_format="NHWC", loss="gram",
    optimizer="lars", notes=("a",),
)  # fmt: skip
TIMED = Throughput(
    scenario="fast", mode="compute-only", round=1, position=0, pid=7, batch_size=32, image_size=64,
    steps_per_window=5, window_seconds=(2.0, 4.0),
)  # fmt: skip
RECORDS: list[Record] = [
    Environment(processor="a processor ü", cores=2, memory_bytes=2**34, system="Linux",
                versions={"torch": "2.15"}),
    Plan(
        command="bench", device="cpu", data="built-in", recipe={"epochs": 3, "base_lr": 0.1},
        recipe_fingerprint="abc",
        scenarios=(SCENARIO,), baseline="baseline", contender="fast", rounds=3, seeds=(0, 1),
    ),
    TIMED,
    Memory(scenario="fast", pid=7, host_before_bytes=1, host_peak_bytes=3),
    Accuracy(subject="fast", seed=0, linear_top1=0.5, classes=10, test_images=100,
             curve=(AccuracyPoint(step=1, seconds=0.1, linear_top1=0.2),)),
    LossTiming(provider="ours", form="gram", backend="torch", dtype="float32", device="cpu", n=8, d=4,
               seconds=(0.1, 1 / 3), calls_per_sample=2, pid=1, round=0),
    Failure(scenario="fast", stage="throughput", message="two\nlines, \u2028 and \x85 in a 日本 name"),
]  # fmt: skip


def written(path: Path, records: list[Record]) -> None:
    writer = RecordWriter(path)
    for record in records:
        writer.write(record)
    writer.close()


def test_every_kind_of_record_round_trips_one_a_line(tmp_path: Path) -> None:
    path = tmp_path / "new" / "run.jsonl"
    written(path, RECORDS)
    assert read_records(path) == (RECORDS, [])
    assert len(path.read_text().splitlines()) == len(RECORDS)
    assert all(json.loads(line)["schema_version"] == 1 for line in path.read_text().splitlines())


def test_each_record_is_on_the_disk_before_the_next(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    writer = RecordWriter(path)
    for count, record in enumerate(RECORDS, start=1):
        writer.write(record)
        assert read_records(path) == (RECORDS[:count], [])
    writer.close()


def test_a_file_is_appended_to_and_never_rewritten(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    written(path, RECORDS[:3])
    before = path.read_bytes()
    written(path, RECORDS[3:])
    assert path.read_bytes().startswith(before)
    assert read_records(path) == (RECORDS, [])


def test_a_torn_last_line_costs_itself_alone(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    written(path, RECORDS[:2])
    with path.open("a") as file:
        file.write('{"kind": "throughput", "scen')
    assert read_records(path) == (RECORDS[:2], ["run.jsonl, line 3: not a whole JSON object (a torn write?)"])
    written(path, RECORDS[2:])  # the run goes on
    records, problems = read_records(path)
    assert records == RECORDS
    assert len(problems) == 1


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            '{"kind": "throughput", "schema_version": 2}',
            r"schema 2 is newer than this version reads \(1\); upgrade",
        ),
        ('{"kind": "hologram"}', "not a record"),
        ('{"scenario": "fast"}', "not a record"),
        ("[1, 2]", "not a record"),
        ("5", r"not a record \(the line: "),
        ("9" * 5000, "not a whole JSON object"),
        ("[" * 100_000, "not a whole JSON object"),
        (TIMED.model_dump_json().replace('"round"', '"rounds"'), "not a record .*round"),
        (TIMED.model_dump_json().replace('"pid":7', '"pid":"x"'), r"not a record \(throughput\.pid: "),
    ],
)
def test_a_line_that_is_no_record_is_one_problem_with_its_number(
    line: str, problem: str, tmp_path: Path
) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text(f"{TIMED.model_dump_json()}\n\n{line}\n{TIMED.model_dump_json()}\n")
    records, problems = read_records(path)
    assert records == [TIMED, TIMED]
    assert len(problems) == 1
    assert problems[0].startswith("run.jsonl, line 3: ")
    assert "\n" not in problems[0]
    assert re.search(problem, problems[0])


def test_files_that_cannot_be_read_or_written_are_said(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"none\.jsonl: cannot be read \(No such file"):
        read_records(tmp_path / "none.jsonl")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecordError, match=r"binary: cannot be read \(not UTF-8 text\)"):
        read_records(tmp_path / "binary")
    with pytest.raises(RecordError, match=r"cannot be written \(Not a directory\)"):
        RecordWriter(tmp_path / "binary" / "below" / "run.jsonl")
    with pytest.raises(RecordError, match=r"cannot be written \(Is a directory\)"):
        RecordWriter(tmp_path)


def test_a_full_disk_is_said_once_in_one_line() -> None:
    writer = RecordWriter(Path("/dev/full"))
    with pytest.raises(RecordError) as caught:
        writer.write(TIMED)
    assert (
        str(caught.value)
        == "/dev/full: cannot be written (No space left on device); records before it are kept"
    )
    writer.close()


def test_pairs_per_second_counts_every_pair_of_a_window() -> None:
    assert TIMED.pairs_per_second == (32 * 5 / 2.0, 32 * 5 / 4.0)


def test_records_are_frozen_and_take_no_unknown_field() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        TIMED.round = 3  # type: ignore[misc]
    with pytest.raises(ValidationError, match="Extra inputs"):
        Memory(scenario="x", pid=1, host_before_bytes=1, host_peak_bytes=1, gpu_bytes=1)  # type: ignore[call-arg]
