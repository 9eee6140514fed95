"""Each path finds its kind of report, and what is of none or of several is said in one line."""

import base64
import re
from pathlib import Path

import pytest

from bench.loss_record import LossTiming
from bench.record import Checked
from reports.dispatch import KINDS, choose_kind
from reports.load import load_report
from reports.record_kinds import record_kinds
from reports.render import render_html
from reports.scaling_load import load_scaling
from tests.reports.loss_runs import LossRun
from tests.reports.scaling_runs import prediction, scaling_file
from vicreg_fast.errors import RecordError, UsageError

PUBLISHED = Path(__file__).parents[2] / "reports" / "published" / "2026-11-22-cpu"


def test_each_kind_of_record_finds_its_report(full_run, tmp_path: Path) -> None:
    losses = (
        LossRun(tmp_path / "losses.jsonl", "official", "auto").timed({"official": 2.0, "auto": 1.0}).write()
    )
    for path, name in (
        (full_run.write(), "a comparison"),
        (losses, "a run of bench loss"),
        (scaling_file(tmp_path / "scaling.jsonl"), "a scaling model"),
        (PUBLISHED / "comparison.jsonl", "a comparison"),
        (PUBLISHED / "loss.jsonl", "a run of bench loss"),
        (PUBLISHED / "loss-three.jsonl", "a run of bench loss"),
    ):
        assert choose_kind([path]).name == name


def test_a_folder_is_its_records(new_run, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    new_run().memory("fast", 1.0).write().rename(tmp_path / "run" / "records.jsonl")
    kind = choose_kind([tmp_path / "run"])
    written = kind.write([tmp_path / "run"], tmp_path / "out")
    expected = render_html(load_report([tmp_path / "run" / "records.jsonl"]))
    assert written["report.html"].read_text(encoding="utf-8") == expected


def test_mixed_files_are_named_with_what_they_are(full_run, tmp_path: Path) -> None:
    losses = LossRun(tmp_path / "losses.jsonl", "official").timed({"official": 2.0}).write()
    with pytest.raises(
        RecordError,
        match=r"full.jsonl is a comparison, \S+losses.jsonl is a run of bench loss; report them apart",
    ) as caught:
        choose_kind([full_run.write(), losses])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"hello\nyou\n", "none in 2 lines"),
        (b'{"kind": "hologram"}\n[1]\n"x"\n{"kind": 3}\n', "only hologram"),
        (b'{"kind": "environment"}\n', "only environment"),
        (b"\xff\xfe\n", "not UTF-8 text"),
        (b"[" * 100_000, "none in 1 line)"),
    ],
)
def test_what_holds_no_report_is_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    with pytest.raises(RecordError, match=r"x.jsonl: ") as caught:
        choose_kind([path])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_and_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to report"):
        choose_kind([])
    with pytest.raises(RecordError, match=r"none.jsonl: cannot be read \(No such file or directory\)"):
        choose_kind([tmp_path / "none.jsonl"])
    with pytest.raises(RecordError, match=r"records.jsonl: cannot be read \(No such file or directory\)"):
        choose_kind([tmp_path])


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"kind": "plan"}\n')
    assert record_kinds(path) == {"plan"}
    path.write_text('{"kind": "loss-timing"}\n{"torn')
    assert record_kinds(path) == {"loss-timing"}


def test_names_are_told_apart() -> None:
    names = [kind.name for kind in KINDS]
    assert len(set(names)) == len(names)


def test_a_scaling_run_is_rendered_from_its_records(tmp_path: Path) -> None:
    timing = LossTiming(
        provider="auto", form="gram", backend="triton", dtype="bfloat16", device="cuda", n=256, d=8192,
        seconds=(0.002,), calls_per_sample=1, pid=1, round=0,
    )  # fmt: skip
    path = scaling_file(tmp_path / "s.jsonl", Checked(timing=timing, predicted=prediction("ours", 1, 1.0)))
    scaling = load_scaling([path])
    assert [p.world_size for p in scaling.predictions] == [1, 1, 8, 8]
    assert scaling.command == "vicreg-fast bench scaling --n 256"
    kind = choose_kind([path])
    page = kind.write([path], tmp_path / "out")["report.html"].read_text()
    assert "Checked against 1 measurement of one GPU (Measured GPU)" in page
    assert "bench scaling --n 256" in page
    (records,) = re.findall(r'download="records.jsonl" href="data:[^,]*,([^"]*)"', page)
    (tmp_path / "taken.jsonl").write_bytes(base64.b64decode(records))
    assert load_scaling([tmp_path / "taken.jsonl"]) == scaling


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"products_seconds": float("nan")}, "is not a time"),
        ({"products_seconds": -1.0}, "is not a time"),
        ({"products_seconds": float("inf")}, "is not a time"),
        ({"world_size": 0}, "no number of ranks"),
        ({"provider": "theirs"}, "no such loss"),
        ({"rates": {}}, "its rates have no"),
        ({"rates": dict.fromkeys(("tf32_tflops",), "fast")}, "its rates have no tf32_tflops"),
    ],
)
def test_a_broken_prediction_is_left_out_and_named(tmp_path: Path, changes: dict, words: str) -> None:
    broken = prediction("ours", 16).model_copy(update=changes)
    scaling = load_scaling([scaling_file(tmp_path / "s.jsonl", broken)])
    assert {p.world_size for p in scaling.predictions} == {1, 8}
    assert len(scaling.problems) == 1
    assert words in scaling.problems[0]


def test_predictions_without_a_partner_are_no_report(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text(prediction("ours", 1).model_dump_json() + "\n")
    with pytest.raises(RecordError, match="no world size has a prediction of both losses") as caught:
        load_scaling([path])
    assert "on 1 ranks only one loss is predicted" in str(caught.value)
    with pytest.raises(RecordError, match="name one file"):
        load_scaling([path, path])
