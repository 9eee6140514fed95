"""Under DistributedDataParallel, a world of processes is one process with the whole batch: loss, terms, and
the gradient of the parameters, to 1e-12 in float64.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.distributed.steps import Case, ddp_step, whole_step
from tests.distributed.worlds import World
from vicreg_fast.loss import plan_loss
from vicreg_fast.loss.presets import PRESETS

# What the plan makes of these shapes: form, exchange, and whether it does so unasked.
GRAM = Case(n=6, D=41)
REDUCE = Case(n=41, D=5)
GATHER = Case(n=11, D=26, form="covariance")
SHAPES = [
    GRAM,
    REDUCE,
    GATHER,
    Case(n=1, D=13),
    Case(n=1, D=13, form="covariance"),
    Case(n=1, D=1),
    Case(n=3, D=1),
    Case(n=7, D=33, form="covariance"),
    Case(n=17, D=9, form="gram"),
]
VARIANTS = [
    replace(shape, **change)
    for shape in (GRAM, REDUCE, GATHER)
    for change in (
        *({"preset": preset} for preset in PRESETS if preset != "official"),
        {"views": "first"},
        {"views": "second"},
        {"upstream": -0.37},
        {"means": "far"},
        {"means": "apart"},
    )
]


def _exchange(case: Case, W: int) -> tuple[str, str]:
    plan = plan_loss(case.n, case.n * W, case.D, torch.float64, "cpu", W, form=case.form)
    return plan.form, plan.exchange


@pytest.mark.parametrize("case", SHAPES + VARIANTS, ids=str)
def test_a_world_is_one_process_with_the_whole_batch(case: Case, world: World) -> None:
    steps = world.run(ddp_step, case)
    wanted = whole_step(case, world.size)
    for step in steps:
        assert step["loss"] == pytest.approx(wanted["loss"], rel=1e-12)
        for name, value in wanted["terms"].items():
            assert step["terms"][name] == pytest.approx(value, rel=1e-12, abs=1e-12 * wanted["loss"])
        error = np.linalg.norm(step["gradient"] - wanted["gradient"])
        assert error <= 1e-12 * np.linalg.norm(wanted["gradient"])
        # not only near: the ranks have one value
        assert step["loss"] == steps[0]["loss"]
        assert step["terms"] == steps[0]["terms"]
        assert np.array_equal(step["gradient"], steps[0]["gradient"])


def test_the_cases_go_every_way_there_is(world: World) -> None:
    assert _exchange(GRAM, world.size) == ("gram", "gather")
    assert _exchange(REDUCE, world.size) == ("covariance", "reduce")
    assert _exchange(GATHER, world.size) == ("covariance", "gather")
