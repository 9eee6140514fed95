"""What sets the pace, how much is learnt, and the machine, in words."""

import pytest

from reports.verdict import verdict
from tests.reports.test_verdict import halves


def paces(run) -> tuple[str, ...]:
    return dict(verdict(run.report()).sections)["What sets the pace"]


@pytest.mark.parametrize(("wait", "words"), [(0.02, "shares its cores with"), (0.4, "is held back by")])
def test_a_loader_that_takes_cores_is_told_from_one_that_starves(new_run, wait: float, words: str) -> None:
    run = new_run().throughput("fast", [100.0] * 8, wait=wait).throughput("fast", [180.0] * 8, "compute-only")
    assert f"vicreg-fast {words} its loader" in paces(run)[0]


@pytest.mark.parametrize(
    ("compute", "words"),
    [
        (
            180.0,
            "vicreg-fast is held back by its loader: with a free one it would be 1.80× as fast "
            "(95 % interval 1.80–1.80; 100 pairs/s",
        ),
        (
            105.0,
            "vicreg-fast is bound by compute: a free loader would make it 1.05× as fast "
            "(95 % interval 1.05–1.05; 100 pairs/s",
        ),
    ],
)
def test_what_sets_the_pace(new_run, compute: float, words: str) -> None:
    run = new_run().throughput("fast", [100.0] * 8).throughput("fast", [compute] * 8, "compute-only")
    run.throughput("baseline", [60.0] * 8, "compute-only").throughput("fast", [103.0], "loader-only")
    said = paces(run)[0]
    assert said.startswith(words)
    ratio = {180.0: "3.0", 105.0: "1.75"}[compute]
    assert f"103 pairs/s from the loader alone); on compute alone it is {ratio}× as fast as baseline" in said


def test_an_interval_across_the_threshold_leaves_the_pace_open(new_run) -> None:
    run = new_run().throughput("fast", [100.0] * 8).throughput("fast", halves(101.0, 130.0), "compute-only")
    # √(1.01·1.30) = 1.146
    said = paces(run)[0]
    assert said.startswith(
        "Whether loader or compute bounds vicreg-fast is undecided: a free loader would make it 1.15×"
    )


def test_few_rounds_leave_the_pace_open(new_run) -> None:
    run = new_run().throughput("fast", [100.0] * 5).throughput("fast", [180.0] * 5, "compute-only")
    (said,) = paces(run)
    assert said.startswith(
        "Whether loader or compute bounds vicreg-fast is undecided: a free loader would make it 1.80×"
    )
    assert "of only 5 rounds" in said


def test_floors_above_and_below(new_run) -> None:
    run = (
        new_run()
        .accuracy("fast", [61.0, 63.0])
        .accuracy("random-trunk", [40.5])
        .accuracy("raw-pixels", [64.0])
    )
    assert dict(verdict(run.report()).sections)["How much is learnt"] == (
        "The linear probe of vicreg-fast reaches 62.0 %: 21.5 points above a random trunk (40.5 %) "
        "and 2.0 points below raw pixels (64.0 %).",
    )


def test_the_machine_and_what_else_it_was_doing(new_run) -> None:
    run = new_run()
    run.environment |= {"gpu": "Test GPU", "gpu_count": 8, "uncommitted_changes": True, "load_average": 7.5}
    said = verdict(run.report())
    assert said.machine == (
        "Measured on Test CPU (8 cores, 32.0 GiB), 8 × Test GPU, Linux 6.1, torch 2.15.0, "
        "commit 0123456789ab with uncommitted changes."
    )
    assert said.caveats == ("The machine was already busy when a run began: load 7.5 on 8 cores.",)
