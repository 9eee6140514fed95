"""Names of scenarios, and the way from `plain` to `fast`."""

import itertools

import pytest

from bench.changes import BASES, CHANGES, ladder_scenarios, parse_name, plan_ladder, scenario_changes
from vicreg_fast.errors import UsageError

ON_CPU = {
    "amp": "needs CUDA",
    "parallel_views": "needs two threads or more",
    "keep_memory": "needs glibc's malloc",
    "capture": "needs CUDA",
    "apex": "needs CUDA",
}
CPU_FAST = BASES["fast"] - ON_CPU.keys()


def changes(name: str, obstacles: dict[str, str], compiles: bool = False) -> frozenset[str]:
    return scenario_changes(name, obstacles=obstacles, compiles=compiles)


def test_a_name_is_what_it_says() -> None:
    assert changes("plain", {}) == changes("baseline", {}) == frozenset()
    assert changes("plain+dali+foreach", {}) == {"dali", "foreach"}
    assert changes("fast-dali+compile", ON_CPU) == {"channels_last", "fused_loss", "foreach", "compile"}
    assert changes("fast", {}, compiles=True) == BASES["fast"] | {"compile"}
    assert changes("tuned", {"compile": "no compiler"}) == BASES["tuned"], "it fails, under its name"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("slow", "no scenario 'slow'; there are plain, baseline, tuned, fast"),
        ("fast-cuda", "no change 'cuda'; there are amp, channels_last"),
        ("fast-", "no change ''"),
        ("fast-capture", "capture cannot be had here: needs CUDA"),
        ("plain+capture", "capture cannot be had here: needs CUDA"),
        ("fast+dali", "dali changes nothing there, which has it already"),
        ("plain-dali", "dali changes nothing there, which does not have it"),
    ],
)
def test_a_name_that_means_nothing_is_refused_with_the_reason(name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        changes(name, ON_CPU)


def test_a_graph_needs_an_optimiser_that_reads_its_rate_on_the_device() -> None:
    with pytest.raises(UsageError, match="capture needs foreach"):
        changes("fast-foreach", {})


@pytest.mark.parametrize("obstacles", [{}, ON_CPU, {**ON_CPU, "dali": "not installed", "compile": "none"}])
@pytest.mark.parametrize("compiled", [False, True])
def test_a_rung_is_one_change_between_two_scenarios(obstacles: dict[str, str], compiled: bool) -> None:
    """Forwards the rungs lead from `plain` to `fast`, backwards from `fast` to `plain`, each through every
    change that can be made."""
    compiled = compiled and "compile" not in obstacles
    fast = changes("fast", obstacles, compiled)
    rungs = plan_ladder(fast, obstacles)
    assert [rung.change for rung in rungs] == list(CHANGES)
    for rung in rungs:
        assert (rung.missing is None) == (rung.forwards is not None)
        assert rung.missing == obstacles.get(rung.change)
        for pair in (rung.forwards, rung.backwards):
            if pair is not None:
                without, having = (changes(name, obstacles, compiled) for name in pair)
                assert having - without == {rung.change}
                assert without < having
    inside = [rung for rung in rungs if rung.change in fast]
    here = [rung.forwards for rung in inside if rung.forwards is not None]
    assert (here[0][0], here[-1][1]) == ("plain", "fast")
    assert all(below[1] == above[0] for below, above in itertools.pairwise(here))
    down = {having: without for without, having in (rung.backwards for rung in inside if rung.backwards)}
    assert len(down) == len(inside)
    name, steps = "fast", 0
    while name != "plain":
        name, steps = down[name], steps + 1
    assert steps == len(inside)
    beyond = next(rung for rung in rungs if rung.change == "compile")
    if not compiled and "compile" not in obstacles:
        assert (beyond.forwards, beyond.backwards) == (("fast", "fast+compile"), None)


def test_a_scenario_that_two_rungs_share_is_measured_once() -> None:
    names = ladder_scenarios(plan_ladder(CPU_FAST, ON_CPU))
    assert names == (
        "plain",
        "plain+channels_last",
        "plain+channels_last+dali",
        "fast-foreach",
        "fast",
        "fast+compile",
        "fast-channels_last",
        "plain+fused_loss+foreach",
        "plain+foreach",
    )
    assert all(parse_name(name) for name in names)
    for_cpus = dict.fromkeys(("parallel_views", "keep_memory"), "is for CPUs")
    on_gpu = ladder_scenarios(plan_ladder(BASES["fast"] - for_cpus.keys(), for_cpus))
    assert len(on_gpu) == len(set(on_gpu)) == 14, "on a machine with apex"
