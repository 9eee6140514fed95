"""The recipe's optimisers, apex's among them, which stand-ins play where it is not installed."""

import copy
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn, optim

from bench.rival_optimizers import per_parameter_optimizer
from tests.training.steps import STEPS_PER_EPOCH, random_batches, small
from vicreg_fast.config import Recipe
from vicreg_fast.errors import UsageError
from vicreg_fast.training import apex
from vicreg_fast.training.apex import find_apex
from vicreg_fast.training.capture_guard import imagined_cuda
from vicreg_fast.training.lars import LARS
from vicreg_fast.training.optimizers import (
    build_optimizer,
    decay_groups,
    load_optimizer_state,
    set_learning_rate,
    takes_tensor_rate,
)
from vicreg_fast.training.step import TrainingStep

CPU = torch.device("cpu")
CUDA = torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("name", "kind"), [("lars", LARS), ("adamw", optim.AdamW), ("sgd", optim.SGD)], ids=str
)
def test_ours_and_torchs_read_their_rate_on_the_device(name: str, kind: type[optim.Optimizer]) -> None:
    network = nn.Linear(3, 2)
    made = build_optimizer(Recipe(optimizer=name), network)  # type: ignore[arg-type]
    assert isinstance(made, kind)
    assert takes_tensor_rate(made)
    assert not takes_tensor_rate(per_parameter_optimizer(Recipe(optimizer=name), network))  # type: ignore[arg-type]


def test_adamw_is_capturable_on_a_gpu_only() -> None:
    with imagined_cuda():
        network = nn.Linear(3, 2).to(CUDA)
        assert all(
            group["capturable"] for group in build_optimizer(small(optimizer="adamw"), network).param_groups
        )
    groups = build_optimizer(small(optimizer="adamw"), nn.Linear(3, 2)).param_groups
    assert not any(group["capturable"] for group in groups)


@pytest.fixture
def nan_in_new_memory() -> Iterator[None]:
    """torch.empty and its like give NaN, in place of what happens to be there."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("nan_in_new_memory")
@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_a_first_step_that_the_loss_scaler_skips_leaves_no_trace(name: str) -> None:
    """As GradScaler tells a fused optimiser of it, after a first scale that was too large."""
    skipped, fresh = nn.Linear(3, 2), nn.Linear(3, 2)
    fresh.load_state_dict(skipped.state_dict())
    for network in (skipped, fresh):
        made: Any = build_optimizer(small(optimizer=name), network)
        set_learning_rate(made, 0.25)
        if network is skipped:
            for p in network.parameters():
                p.grad = torch.full_like(p, torch.inf)
            made.found_inf = torch.ones(())
            made.step()
            made.found_inf = torch.zeros(())
        for p in network.parameters():
            p.grad = torch.ones_like(p)
        made.step()
    for one, other in zip(skipped.parameters(), fresh.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["adamw", "sgd", "lars"])
def test_loading_keeps_the_options_it_was_made_with(name: str) -> None:
    network = nn.Linear(3, 2)
    recipe = small(optimizer=name)
    saved, loaded = build_optimizer(recipe, network), build_optimizer(recipe, network)
    for p in network.parameters():
        p.grad = torch.ones_like(p)
    set_learning_rate(saved, 0.25)
    saved.step()
    state = copy.deepcopy(saved.state_dict())
    for group in state["param_groups"]:
        group.update(weight_decay=7.0, capturable=True, learnt=3)
    rate = torch.tensor(0.5)
    set_learning_rate(loaded, rate)
    load_optimizer_state(loaded, state)
    for group, fresh in zip(loaded.param_groups, build_optimizer(recipe, network).param_groups, strict=True):
        assert group["lr"] is rate
        assert group["weight_decay"] == fresh["weight_decay"]
        assert group.get("capturable", False) in (False, name != "adamw")
        assert group["learnt"] == 3  # what is no option, such as the step count of apex's FusedLAMB
    for p in network.parameters():
        assert loaded.state[p].keys() == saved.state[p].keys()


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, str]], None]]:
    """Writes modules, by their path, where they are found first; what is imported of them is forgotten."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(modules: dict[str, str]) -> None:
        for name, text in modules.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        importlib.invalidate_caches()

    before = set(sys.modules)
    yield write
    for name in set(sys.modules) - before:
        if name.split(".")[0] in ("apex", "amp_C"):
            del sys.modules[name]


def test_which_apex_it_is(
    packages: Callable[[dict[str, str]], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])  # without one that may be installed
    # Each would fail if it were imported.
    assert find_apex() == "missing"
    packages({"apex.py": "raise ImportError"})
    assert find_apex() == "another"
    packages({"apex/__init__.py": "raise ImportError", "apex/views.py": ""})
    assert find_apex() == "another"
    packages({"apex/optimizers/__init__.py": ""})
    assert find_apex() == "python-only"
    packages({"amp_C.py": "raise ImportError"})
    assert find_apex() == "kernels"


@pytest.mark.parametrize("name", ["apex-fusedsgd", "apex-fusedlamb"])
def test_apex_is_refused_on_a_cpu(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        build_optimizer(small(optimizer=name), nn.Linear(3, 2))
    assert str(caught.value) == f"optimizer = {name!r} needs CUDA; on cpu use optimizer=lars, adamw or sgd"
    with pytest.raises(UsageError, match="has no form without fused kernels"):
        per_parameter_optimizer(small(optimizer=name), nn.Linear(3, 2))


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ("missing", r"needs NVIDIA's apex, which is not installed: build NVIDIA's with its options cpp_ext"),
        ("another", r"is another package, the package index's toolkit for Pyramid: uninstall it, and build"),
        ("python-only", r"needs the kernels of NVIDIA's apex, which was built without them: build NVIDIA's"),
    ],
)
def test_apex_that_cannot_be_used_is_told_of(
    found: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apex, "find_apex", lambda: found)
    with imagined_cuda(), pytest.raises(UsageError, match=message) as caught:
        build_optimizer(small(optimizer="apex-fusedsgd"), nn.Linear(3, 2).to(CUDA))
    assert "\n" not in str(caught.value)


STAND_IN = """
from torch import optim

class FusedSGD(optim.SGD):
    '''As apex's: a learning rate that is a number, and no `set_to_none`.'''
    def __init__(self, params, lr, momentum):
        super().__init__(params, lr=lr, momentum=momentum, foreach=False)
        self.defaults.pop("fused")
    def zero_grad(self):
        super().zero_grad()
    def step(self, closure=None):
        assert all(type(group["lr"]) is float for group in self.param_groups)
        return super().step(closure)

class FusedLAMB(optim.SGD):
    def __init__(self, params, lr):
        super().__init__(params, lr=lr)
"""


@pytest.fixture
def stand_in(packages: Callable[[dict[str, str]], None], monkeypatch: pytest.MonkeyPatch) -> None:
    packages({"apex/__init__.py": "", "apex/optimizers/__init__.py": STAND_IN})
    monkeypatch.setattr(apex, "find_apex", lambda: "kernels")


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("name", ["apex-fusedsgd", "apex-fusedlamb"])
def test_apex_gets_the_recipes_groups(name: str) -> None:
    recipe = small(optimizer=name, momentum=0.7, weight_decay=0.125)
    with imagined_cuda():
        network = nn.Linear(3, 2).to(CUDA)
        made = build_optimizer(recipe, network)
    assert type(made).__module__ == "apex.optimizers"
    assert [group["weight_decay"] for group in made.param_groups] == [0.125, 0.0]
    assert made.param_groups[0]["params"] == [network.weight]
    if name == "apex-fusedsgd":
        assert made.defaults["momentum"] == 0.7
    assert takes_tensor_rate(made) is False


@pytest.mark.usefixtures("stand_in")
def test_a_step_with_apex_gives_it_numbers() -> None:
    """On the CPU, where the stand-in's kernels run and apex's would not."""
    recipe = small(optimizer="sgd", weight_decay=0.0, base_lr=0.1)

    def make(recipe: Recipe, network: nn.Module) -> optim.Optimizer:
        from apex.optimizers import FusedSGD  # type: ignore[import-not-found]

        groups: list[dict[str, Any]] = decay_groups(recipe, list(network.parameters()))
        made: optim.Optimizer = FusedSGD(groups, lr=0.0, momentum=recipe.momentum)
        return made

    ours = TrainingStep(recipe, CPU, steps_per_epoch=STEPS_PER_EPOCH)
    theirs = TrainingStep(recipe, CPU, steps_per_epoch=STEPS_PER_EPOCH, make_optimizer=make)
    for batches in random_batches(5):
        ours(batches)
        theirs(batches)
        assert theirs.learning_rate == ours.learning_rate
    for p, q in zip(ours.network.parameters(), theirs.network.parameters(), strict=True):
        torch.testing.assert_close(p, q)
