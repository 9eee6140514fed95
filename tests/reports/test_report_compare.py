"""Two runs beside each other: what is refused, and the numbers of what is not."""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench.compare import unpaired_ratio
from bench.record import Environment, RecordWriter, RegressionPlan, RegressionSample
from reports.compare_render import (
    MOST_DRAWN,
    changes_csv,
    compare_picture,
    compare_tables,
    print_compared,
    render_compare_html,
    render_compare_markdown,
    write_compared,
)
from reports.report_compare import NotComparableError, compare_runs, compare_verdict, differences
from reports.sides import load_side
from tests.reports.loss_runs import LossRun
from vicreg_fast.errors import RecordError, UsageError

Make = Callable[..., Path]


@pytest.fixture
def run_at(new_run) -> Make:
    """A run whose baseline makes `pace` and whose fast `ratio` × `pace` pairs/s, eight rounds each."""

    def make(pace: float = 100.0, ratio: float = 2.0, host: float = 1.0, **changes: Any) -> Path:
        environment = changes.pop("environment", {})
        points = changes.pop("points", (60.0, 61.0, 62.0))
        run = new_run(*changes.pop("scenarios", ()), **changes)
        run.environment |= environment
        drift = [1.0, 1.02, 0.98, 1.01, 0.99, 1.03, 0.97, 1.0]
        run.throughput("baseline", [pace * d for d in drift])
        run.throughput("fast", [ratio * pace * d for d in drift])
        run.memory("baseline", 2.0).memory("fast", host).accuracy("fast", points)
        return run.write()

    return make


def test_a_change_of_ours_is_told_from_a_drift_of_the_machine(run_at: Make) -> None:
    """B's machine is half as fast, and its `fast` 1.1 times as fast beside the baseline."""
    compared = compare_runs(load_side(run_at()), load_side(run_at(pace=50.0, ratio=2.2)))
    found = {change.label: change for change in compared.changes}
    fast = found["fast", "end-to-end"]
    assert fast.ratio.estimate == pytest.approx(0.55)
    assert fast.beside is not None
    assert (fast.beside.estimate, fast.beside.low, fast.beside.high) == pytest.approx((1.1, 1.1, 1.1))
    assert fast.said == "faster"
    assert found["baseline", "end-to-end"].beside is None
    assert found["baseline", "end-to-end"].said == "slower"
    said = compare_verdict(compared)
    assert said.headline.startswith(
        "B runs vicreg-fast, end-to-end at 0.55× the speed of A (95 % interval 0.5"
    )
    assert said.headline.endswith(
        "unpaired); beside its own baseline, at 1.10× (95 % interval 1.10–1.10): faster."
    )
    assert said.tone == "good"
    assert said.context[0] == "Of 2 speeds that both runs timed: 1 faster and 1 slower."
    assert "not interleaved" in said.caveats[0]


def test_memory_and_accuracy_are_beside_each_other(run_at: Make) -> None:
    compared = compare_runs(load_side(run_at()), load_side(run_at(host=0.5, points=(61.0, 62.0, 63.0))))
    assert compared.memory["fast", "host"] == (2**30, 2**29)
    gap = compared.accuracy["fast"]
    assert (gap.estimate, gap.samples) == (pytest.approx(1.0), 3)
    titles = {table.title: table.rows for table in compare_tables(compared)}
    assert titles["Peak memory"][1] == ("vicreg-fast, host", "1.00 GiB", "0.50 GiB", "0.50×")
    assert titles["Linear accuracy, B − A, seeds paired"] == (("vicreg-fast", "+1.0", "+1.0 to +1.0", "3"),)


def test_unpaired_ratio_by_hand() -> None:
    same = unpaired_ratio([2.0, 2.0, 2.0], [3.0, 3.0])
    assert (same.estimate, same.low, same.high, same.samples) == (
        1.5,
        pytest.approx(1.5),
        pytest.approx(1.5),
        2,
    )
    # Of two samples a side, a draw is twice the same one half of the time: the ends are 1 ÷ 2 and 2 ÷ 1.
    spread = unpaired_ratio([1.0, 2.0], [1.0, 2.0])
    assert (spread.low, spread.estimate, spread.high) == pytest.approx((0.5, 1.0, 2.0))
    for a, b in (([], [1.0]), ([1.0], []), ([0.0], [1.0]), ([1.0], [float("nan")])):
        with pytest.raises(ValueError, match="a ratio needs samples"):
            unpaired_ratio(a, b)


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        (
            {"environment": {"processor": "Other CPU"}},
            "processor",
            "processor is Test CPU in A and Other CPU in B",
        ),
        ({"environment": {"cores": 4}}, "cores", "cores is 8 in A and 4 in B"),
        ({"environment": {"gpu": "H"}}, "gpu", "gpu is not recorded in A and H in B"),
        ({"environment": {"driver": "5"}}, "driver", "driver is not recorded in A and 5 in B"),
        ({"environment": {"versions": {"torch": "2.14.0"}}}, "torch", "torch is 2.15.0 in A and 2.14.0 in B"),
        (
            {"environment": {"versions": {"torch": "2.15.0", "nvidia-cudnn-cu13": "9"}}},
            "nvidia-cudnn-cu13",
            "nvidia-cudnn-cu13 is not recorded in A and 9 in B",
        ),
        (
            {"environment": {"environment_variables": {"OMP_NUM_THREADS": "1"}}},
            "OMP_NUM_THREADS",
            "OMP_NUM_THREADS is not recorded in A and 1 in B",
        ),
        ({"device": "cuda"}, "device", "device is cpu in A and cuda in B"),
        ({"data": "others"}, "data", "data is digits, 1797 images, 10 classes in A and others in B"),
        (
            {"recipe_fingerprint": "9"},
            "recipe_fingerprint",
            "recipe_fingerprint is abcdef012345 in A and 9 in B",
        ),
        (
            {"recipe_fingerprint": "9", "recipe": {"batch_size": 64, "backbone": "resnet18"}},
            "recipe.batch_size",
            "recipe.batch_size is 256 in A and 64 in B",
        ),
    ],
)
def test_what_is_not_comparable_is_refused_by_field_unless_allowed(
    run_at: Make, changes: dict[str, Any], field: str, words: str
) -> None:
    a, b = load_side(run_at()), load_side(run_at(**changes))
    with pytest.raises(NotComparableError) as caught:
        compare_runs(a, b)
    assert words in str(caught.value)
    assert str(caught.value).endswith(f"To compare them all the same: --allow {field}")
    assert caught.value.exit_code == 5
    assert "\n" not in str(caught.value)
    compared = compare_runs(a, b, [field])
    assert [difference.field for difference in compared.allowed] == [field]
    for text in (render_compare_html(compared), render_compare_markdown(compared)):
        assert "let pass with --allow" in text


def test_a_scenario_that_became_another_is_refused(run_at: Make, new_scenario) -> None:
    a = load_side(run_at())
    b = load_side(run_at(scenarios=("baseline", new_scenario("fast", loss="gram", notes=("a note",)))))
    assert [str(difference) for difference in differences(a, b)] == [
        "fast.loss is covariance in A and gram in B"
    ]


def test_two_baselines_are_refused_and_never_divided_by_each_other(new_run) -> None:
    sides = []
    for baseline in ("baseline", "plain"):
        run = new_run(baseline, "fast", baseline=baseline)
        sides.append(load_side(run.throughput(baseline, [1.0] * 6).throughput("fast", [2.0] * 6).write()))
    with pytest.raises(NotComparableError, match="baseline is baseline in A and plain in B"):
        compare_runs(*sides)
    (change,) = compare_runs(*sides, ["baseline"]).changes
    assert (change.label, change.beside) == (("fast", "end-to-end"), None)


def test_the_commit_and_a_scenario_of_one_run_alone_may_differ(run_at: Make) -> None:
    a = load_side(run_at())
    b = load_side(
        run_at(
            environment={"commit": "f" * 40, "uncommitted_changes": True},
            scenarios=("baseline", "fast", "tuned"),
        )
    )
    assert differences(a, b) == ()
    said = compare_verdict(compare_runs(a, b))
    assert said.context[1].endswith("is of commit ffffffffffff with uncommitted changes.")


def test_what_only_one_run_measured_is_said(new_run) -> None:
    a = new_run().throughput("baseline", [1.0] * 6).throughput("fast", [1.0] * 6, "loader-only").write()
    b = new_run().throughput("baseline", [2.0] * 5).write()
    compared = compare_runs(load_side(a), load_side(b))
    assert compared.alone == ("vicreg-fast, loader-only: only in A",)
    said = compare_verdict(compared)
    assert said.headline == "B beside A: nothing that a headline is about was timed in both."
    assert any("Not compared: vicreg-fast, loader-only: only in A." in caveat for caveat in said.caveats)
    assert any("fewer than 6 rounds" in caveat for caveat in said.caveats)
    assert compared.changes[0].said == "too few rounds"


def test_runs_that_share_nothing_are_refused(new_run) -> None:
    a = new_run().throughput("baseline", [1.0]).write()
    b = new_run().throughput("fast", [1.0]).write()
    with pytest.raises(NotComparableError, match="have measured nothing in common"):
        compare_runs(load_side(a), load_side(b))


def test_a_field_that_is_none_is_a_usage_error(run_at: Make) -> None:
    side = load_side(run_at())
    with pytest.raises(UsageError, match=r"--allow procesor: no such field; there are .*, processor,"):
        compare_runs(side, side, ["procesor"])


def loss_run(path: Path, milliseconds: float) -> Path:
    noise = [1.0, 1.03, 0.98, 1.01, 0.97, 1.02]
    run = LossRun(path, "official", "auto").timed({"official": 8.0, "auto": milliseconds}, noise=noise)
    return run.held("official", 8.0).held("auto", 2.0).write()


def test_losses_are_compared_by_time(tmp_path: Path) -> None:
    a, b = loss_run(tmp_path / "a.jsonl", 2.0), loss_run(tmp_path / "b.jsonl", 1.0)
    compared = compare_runs(load_side(a), load_side(b))
    first = compared.changes[0]
    assert first.label == ("auto", "256 × 8192, float32 on cpu, forward+backward")
    assert first.ratio.estimate == pytest.approx(2.0)
    assert first.beside is not None
    assert first.beside.estimate == pytest.approx(2.0)
    assert compare_tables(compared)[0].rows[0][2:4] == ("2.01 ms", "1.01 ms")
    assert any("one process" in caveat for caveat in compare_verdict(compared).caveats)


def regression_run(path: Path, ratio: float, **changes: Any) -> Path:
    writer = RecordWriter(path)
    writer.write(Environment(processor="Test CPU", cores=2, memory_bytes=2**34, system="Linux"))
    fields: dict[str, Any] = {"torch": "2.15.0", "threads": "1"} | changes
    writer.write(
        RegressionPlan(
            command="vicreg-fast bench loss --against HEAD", against="HEAD", source="revision",
            base_commit="1" * 40, head_commit="2" * 40, base_fingerprint={}, head_fingerprint=fields,
            base_cases=("gram",), head_cases=("gram",), device="cpu", threads=1, rounds=7, pairs=3,
            least_tau=0.03,
        )
    )  # fmt: skip
    for side, factor in (("head", ratio), ("base", 7.0)):
        for round_ in range(7):
            writer.write(
                RegressionSample(
                    case="gram", side=side, round=round_, position=0, attempt=0, pid=1, calls=1,
                    naive_calls=1, seconds=(factor, factor, 9.0 * factor), naive_seconds=(1.0, 1.0, 1.0),
                )
            )  # fmt: skip
    writer.close()
    return path


def test_the_heads_of_two_regression_runs_are_compared(tmp_path: Path) -> None:
    a, b = (regression_run(tmp_path / f"{ratio}.jsonl", ratio) for ratio in (0.5, 0.25))
    compared = compare_runs(load_side(a), load_side(b))
    (change,) = compared.changes
    assert (change.a, change.b, change.ratio.estimate, change.said) == (
        0.5,
        0.25,
        pytest.approx(2.0),
        "faster",
    )
    assert "beside the naive loss: faster." in compare_verdict(compared).headline
    text = (
        a.read_text()
        .replace("[0.5, 0.5, 4.5]", "[Infinity, NaN, 0.5]", 1)
        .replace("[0.5, 0.5, 4.5]", "[0.0]", 1)
    )
    (tmp_path / "broken.jsonl").write_text(text)
    (change,) = compare_runs(load_side(tmp_path / "broken.jsonl"), load_side(b)).changes
    assert (change.a, change.ratio.estimate, change.ratio.samples) == (0.5, pytest.approx(2.0), 6)
    other = regression_run(tmp_path / "other.jsonl", 0.5, threads="2")
    with pytest.raises(NotComparableError, match="threads is 1 in A and 2 in B"):
        compare_runs(load_side(a), load_side(other))


def test_kinds_are_not_mixed_and_others_are_refused(run_at: Make, tmp_path: Path) -> None:
    losses = load_side(loss_run(tmp_path / "a.jsonl", 2.0))
    with pytest.raises(NotComparableError, match=r"of kind comparison and B \(a.jsonl\) of kind losses"):
        compare_runs(load_side(run_at()), losses)
    (tmp_path / "none.jsonl").write_text('{"kind": "scaling"}\n')
    with pytest.raises(RecordError, match=r"none.jsonl: is a scaling model; what can be compared is"):
        load_side(tmp_path / "none.jsonl")
    with pytest.raises(RecordError, match="cannot be read"):
        load_side(tmp_path / "nowhere")


def test_every_output_says_the_same(run_at: Make, tmp_path: Path) -> None:
    compared = compare_runs(load_side(run_at()), load_side(run_at(ratio=2.2)))
    said = compare_verdict(compared)
    written = write_compared(compared, tmp_path / "out")
    assert set(written) == {"compare.html", "compare.md", "compare.csv"}
    console = Console(file=io.StringIO(), width=300)
    print_compared(compared, console)
    assert said.headline in console.file.getvalue()  # type: ignore[attr-defined]
    assert said.headline in written["compare.html"].read_text()
    rows = list(csv.DictReader(io.StringIO(changes_csv(compared))))
    assert [row["metric"] for row in rows] == ["speed"] * 2 + ["peak memory"] * 2 + ["linear accuracy"]
    assert float(rows[1]["beside_baseline"]) == pytest.approx(1.1)
    assert str(tmp_path) not in "".join(path.read_text() for path in written.values())


def test_many_changes_are_drawn_up_to_a_number(new_run) -> None:
    names = [f"s{number}" for number in range(MOST_DRAWN + 6)]
    run = new_run("baseline", *names, contender="s1")
    for name in names:
        run.throughput(name, [1.0, 2.0])
    side = load_side(run.write())
    picture = compare_picture(compare_runs(side, side))
    assert picture is not None
    assert "6 more are in the table" in picture.caption
