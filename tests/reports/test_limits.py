"""What a report says of limits, energy and traces; and of records that cannot be true."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from bench.limits_record import Energy, StepWork, TraceShares
from bench.loss_record import Ceiling
from reports.energy import drawn, energy_caveats, energy_sentences, energy_table, energy_unmeasured
from reports.frames import samples_frame
from reports.limits import (
    flops,
    limits,
    limits_caveats,
    limits_sentences,
    limits_table,
    limits_tables,
    trace_table,
    work_table,
)
from reports.render import render_html
from reports.roofline import roofline_picture
from reports.summary import Summary, summarise

GIGA = 1e9


def work(scenario: str, **changes: Any) -> StepWork:
    """A step of 60 GFLOP that 256 pairs take, 1 of it the loss's least."""
    fields: dict[str, Any] = {
        "scenario": scenario,
        "device": "cpu",
        "dtype": "float32",
        "batch_size": 256,
        "network_flops": 59_000_000_000,
        "loss_least_flops": 1_000_000_000,
        "loss_flops": 6_000_000_000,
        "parameter_bytes": 100,
        "gradient_bytes": 100,
        "optimizer_state_bytes": 200,
        "view_bytes": 200,
        "operator_bytes": 6_000_000_000,
    }
    return StepWork(**{**fields, **changes})


def ceiling(**changes: Any) -> Ceiling:
    fields: dict[str, Any] = {
        "dtype": "float32",
        "device": "cpu",
        "product_size": 1024,
        "flops_per_second": 100 * GIGA,
        "copied_bytes": 1,
        "bytes_per_second": 10 * GIGA,
    }
    return Ceiling(**{**fields, **changes})


def energy(scenario: str, round: int, joules: float | None, **changes: Any) -> Energy:
    """Two windows of a second each, 256 pairs in each."""
    fields: dict[str, Any] = {
        "scenario": scenario,
        "mode": "end-to-end",
        "round": round,
        "source": "nvml",
        "joules": () if joules is None else (joules, joules),
        "window_seconds": (1.0, 1.0),
        "pairs_per_window": 256,
    }
    return Energy(**{**fields, **changes})


def trace(scenario: str, **changes: Any) -> TraceShares:
    fields: dict[str, Any] = {
        "scenario": scenario,
        "file": f"traces/{scenario}/rank_0.3.pt.trace.json.gz",
        "steps": 5,
        "step_seconds": 0.2,
        "host": {"pipeline": 0.1, "forward": 0.3, "backward": 0.4, "optimizer": 0.15, "outside": 0.05},
    }
    return TraceShares(**{**fields, **changes})


@pytest.fixture
def run(new_run: Callable[..., Any]) -> Any:
    """`baseline` at 128 pairs/s end to end and 256 compute-only, `fast` at twice that: 2 to 0.5 s a step."""
    run = new_run(rounds=6)
    for name, rate in (("baseline", 128.0), ("fast", 256.0)):
        run.throughput(name, [rate] * 6).throughput(name, [2 * rate] * 6, "compute-only")
    return run


def with_records(run: Any, *records: Any) -> Summary:
    run.records += records
    return summarise(run.report())


def test_a_steps_time_stands_beside_its_floor(run: Any) -> None:
    summary = with_records(run, ceiling(flops_per_second=GIGA), work("baseline"), work("fast"), ceiling())
    assert [(limit.scenario, limit.mode, limit.step_seconds) for limit in limits(summary)] == [
        ("baseline", "end-to-end", pytest.approx(2.0)),
        ("baseline", "compute-only", pytest.approx(1.0)),
        ("fast", "end-to-end", pytest.approx(1.0)),
        ("fast", "compute-only", pytest.approx(0.5)),
    ]
    # 60 GFLOP at 100 GFLOP/s, the higher ceiling: 0.6 s
    assert [round(limit.utilisation, 6) for limit in limits(summary)] == [0.3, 0.6, 0.6, 1.2]
    assert limits_table(summary).rows[0] == (
        *("baseline", "end-to-end", "2,000 ms", "600 ms", "compute", "30.0 %"),
        *("30.0 GFLOP/s", "100 GFLOP/s float32", "30.0 %"),
    )
    assert work_table(summary).rows[1][:6] == (
        *("fast", "60.0 GFLOP", "65.0 GFLOP", "1.00 GFLOP", "6.00 GFLOP", "0.000954 MiB"),
    )
    assert limits_sentences(summary)[0] == (
        "fast reaches 60.0 % of what this machine's float32 matrix products reach, end to end (120.0 % on "
        "compute alone): a step takes 1,000 ms, and its products alone take at least 600 ms."
    )
    assert limits_sentences(summary)[1].startswith("baseline reaches 30.0 %")
    (caveat,) = limits_caveats(summary)
    assert caveat.startswith("fast computes faster than the products that its ceiling was measured with")


def test_a_step_of_nothing_but_weights_is_bound_by_memory(run: Any) -> None:
    slow = with_records(run, ceiling(bytes_per_second=1000.0), work("fast"))
    (limit, _) = limits(slow)
    assert (limit.floor.bound, limit.floor.seconds) == ("memory", pytest.approx(1.0))
    assert limit.of_floor == pytest.approx(1.0)
    assert limit.utilisation == pytest.approx(0.6)
    assert "moving its parameters alone take at least 1,000 ms" in limits_sentences(slow)[0]


def test_the_roofline_has_every_scenario_under_its_roof(run: Any) -> None:
    summary = with_records(run, ceiling(), work("baseline"), work("fast", operator_bytes=3_000_000_000))
    picture = roofline_picture(summary)
    assert picture is not None
    assert picture.title == (
        "fast reaches 120.0 % of this machine's float32 products on compute alone, baseline 60.0 %"
    )
    assert "100 GFLOP/s of products, 10.0 GB/s of copies" in picture.alt
    assert "baseline, end to end: 30.0 GFLOP/s at 10.0 FLOPs a byte, 30.0 % of the ceiling" in picture.alt
    assert "fast, compute only: 120 GFLOP/s at 20.0 FLOPs a byte" in picture.alt
    for text in ("float32 100 GFLOP/s", "copies 10.0 GB/s", "model FLOPs for each byte moved", "GFLOP/s"):
        assert text in picture.svg


def test_levels_that_nearly_meet_share_a_label(run: Any) -> None:
    half = {"flops_per_second": 700e12, "device": "cuda"}
    summary = with_records(
        run,
        ceiling(dtype="float16", **half),
        ceiling(dtype="bfloat16", **{**half, "flops_per_second": 750e12}),
        work("baseline", dtype="float16", device="cuda"),
        work("fast", dtype="bfloat16", device="cuda"),
    )
    picture = roofline_picture(summary)
    assert picture is not None
    assert "float16 700 TFLOP/s, bfloat16 750 TFLOP/s" in picture.svg
    assert ">TFLOP/s<" in picture.svg
    assert picture.title.endswith("of the float16 ones"), "each share is of its own dtype's products"


def test_without_a_ceiling_of_its_own_nothing_is_claimed(run: Any) -> None:
    summary = with_records(run, ceiling(dtype="bfloat16"), ceiling(device="cuda"), work("fast"))
    assert limits(summary) == ()
    assert roofline_picture(summary) is None
    assert limits_sentences(summary) == ()


def test_every_raw_number_is_a_row_of_the_samples(run: Any) -> None:
    clocks = energy("fast", 3, 5.0, sm_clock_mhz=1700)
    report = with_records(run, ceiling(), work("fast"), clocks, trace("fast")).report
    frame = samples_frame(report)
    found = {(r.kind, r.metric): (r.value, r.unit) for r in frame[frame.kind != "throughput"].itertuples()}
    assert found["energy", "joules"] == (5.0, "J")
    assert found["energy", "sm_clock_mhz"] == (1700, "MHz")
    assert found["ceiling", "products"] == (100 * GIGA, "FLOP/s")
    assert found["step-work", "network"] == (59_000_000_000, "FLOP")
    assert found["step-work", "operator"] == (6_000_000_000, "bytes")
    assert found["trace-shares", "pipeline"] == (0.1, "1")
    assert [r.kind for r in report.records[-4:]] == ["step-work", "ceiling", "energy", "trace-shares"]


def test_records_of_before_say_nothing(full_run: Any) -> None:
    summary = summarise(full_run.report())
    assert limits_tables(summary) == ()
    assert limits_sentences(summary) == ()
    assert limits_caveats(summary) == ()
    assert roofline_picture(summary) is None


def test_energy_is_compared_round_by_round(run: Any) -> None:
    run.plan["energy"] = "NVML's counter of the whole GPU"
    clocks = {"sm_clock_mhz": 1700, "temperature_celsius": 60}
    records = [energy("baseline", r, 256.0 * (r + 1), **clocks) for r in range(6)]
    records += [energy("fast", r, 64.0 * (r + 1), **clocks) for r in range(5)]
    records.append(
        energy("fast", 5, 384.0, sm_clock_mhz=900, temperature_celsius=85, throttled_by=("power cap",))
    )
    summary = with_records(run, *records)
    base, fast = drawn(summary)
    assert base.joules_per_pair is not None
    assert base.joules_per_pair.estimate == pytest.approx(3.5)
    assert base.watts == pytest.approx(256 * 3.5)
    assert fast.ratio is not None
    assert (fast.ratio.estimate, base.ratio) == (pytest.approx(0.25), None)
    row = energy_table(summary).rows[1]
    assert row[:4] == ("fast", "end-to-end", "0.88", "0.25×")
    assert row[6:] == ("900–1700", "60–85", "1 of 6")
    (sentence,) = energy_sentences(summary)
    assert sentence.startswith(
        "fast takes 0.88 J a pair end to end, 0.25× what baseline takes (95 % interval"
    )
    assert sentence.endswith("measured by NVML's counter of the whole GPU.")
    assert energy_unmeasured(summary) == ()
    (caveat,) = energy_caveats(summary)
    assert "1 of 6 rounds (16.7 %), by power cap" in caveat


def test_energy_that_was_not_measured_is_said_to_be(run: Any) -> None:
    run.plan["energy"] = "not measured: RAPL's counters can be read by root alone here"
    summary = with_records(run, energy("fast", 0, None, sm_clock_mhz=1700))
    assert energy_sentences(summary) == ()
    assert energy_unmeasured(summary) == (
        "Energy was not measured: RAPL's counters can be read by root alone here.",
    )
    assert energy_table(summary).rows[0][2:7] == ("–", "–", "–", "–", "1700")


def test_appended_runs_keep_their_rounds_of_energy_apart(run: Any) -> None:
    run.records += [energy(name, 0, joules) for name, joules in (("baseline", 256.0), ("fast", 64.0))]
    path = run.write()
    path.write_text(path.read_text() * 2)
    from reports.load import load_report

    (_, fast) = drawn(summarise(load_report([path])))
    assert [record.round for record in fast.rounds] == [0, 6]
    assert fast.ratio is not None
    assert fast.ratio.samples == 2


def test_where_a_steps_time_goes(run: Any) -> None:
    device = {"compute": 0.7, "communication": 0.0, "copies": 0.1, "idle": 0.2}
    summary = with_records(
        run, trace("baseline"), trace("fast", device_work=device, communication_hidden=0.0)
    )
    table = trace_table(summary)
    assert table.columns[:4] == ("scenario", "traced step", "loader wait", "forward")
    assert table.rows[0][1:4] == ("200 ms", "10.0 %", "30.0 %")
    assert table.rows[0][7:] == ("–", "–", "–", "–", "traces/baseline/rank_0.3.pt.trace.json.gz")
    assert table.rows[1][7:11] == ("70.0 %", "0.0 %", "10.0 %", "20.0 %")


BROKEN = (
    work("fast", operator_bytes=0),
    work("fast", network_flops=0),
    work("fast", batch_size=0),
    work("fast", loss_flops=10**400),
    ceiling(flops_per_second=math.nan),
    ceiling(bytes_per_second=0.0),
    energy("fast", 0, math.nan),
    energy("fast", 0, -1.0),
    energy("fast", 0, 1.0, window_seconds=(1.0,)),
    energy("fast", 0, 1.0, window_seconds=(0.0, 1.0)),
    energy("fast", 0, 1.0, pairs_per_window=0),
    trace("fast", host={"forward": math.nan}),
    trace("fast", host={"forward": 0.7, "backward": 0.7}),
    trace("fast", step_seconds=math.inf),
)


def test_a_record_that_cannot_be_true_is_named_and_left_out(run: Any) -> None:
    run.records += BROKEN
    report = run.report()
    assert len(report.problems) == len(BROKEN), report.problems
    assert all("left out" in problem and "\n" not in problem for problem in report.problems)
    assert (report.works, report.ceilings, report.energies, report.traces) == ((), (), (), ())
    assert limits_tables(summarise(report)) == ()


def test_twelve_scenarios_with_markup_in_their_names_make_a_page(new_run: Callable[..., Any]) -> None:
    names = ["baseline", "fast", *(f"<b>{number}</b>_&|" for number in range(10))]
    run = new_run(*names, price_per_hour=1.0, epoch_images=100)
    for name in names:
        run.throughput(name, [100.0])
        run.records += [work(name), trace(name), energy(name, 0, 5.0)]
    run.records.append(ceiling())
    page = render_html(run.report())
    assert "<b>1</b>_" not in page
    assert page.count("<svg") >= 2
    for title in ("Limits of a step", "Work of a step", "Energy and clocks", "Cost", "Where a step"):
        assert title in page


def test_operations_have_a_prefix() -> None:
    assert [flops(value) for value in (0, 12, 4.5e3, 2e6, 3e9, 4e12, 5e15)] == [
        *("0.00 FLOP", "12.0 FLOP", "4.50 kFLOP", "2.00 MFLOP", "3.00 GFLOP", "4.00 TFLOP", "5.00 PFLOP"),
    ]
    assert flops(1.5e18) == "1,500 PFLOP"
