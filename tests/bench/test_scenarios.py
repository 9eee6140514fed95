"""The scenarios differ in how they train, never in what."""

import pytest
import torch

from bench.rival_optimizers import per_parameter_optimizer
from bench.scenarios import build_scenario
from vicreg_fast.config import load_recipe
from vicreg_fast.errors import UsageError
from vicreg_fast.model import build_network
from vicreg_fast.training.optimizers import build_optimizer, set_learning_rate

CPU = torch.device("cpu")
HOW = {"pipeline", "precision", "channels_last", "compile", "capture"}


@pytest.mark.parametrize("name", ["baseline", "tuned", "fast"])
def test_a_scenario_changes_only_how(name: str) -> None:
    recipe = load_recipe("smoke")
    changed = build_scenario(name, recipe, CPU).recipe
    differing = {key for key in type(recipe).model_fields if getattr(recipe, key) != getattr(changed, key)}
    assert differing <= HOW


def test_scenarios_say_what_they_are() -> None:
    recipe = load_recipe("smoke", ["optimizer=lars"])
    baseline, tuned, fast = (
        build_scenario(name, recipe, CPU).record for name in ("baseline", "tuned", "fast")
    )
    assert (baseline.pipeline, baseline.precision, baseline.compile) == ("torchvision", "fp32", False)
    assert "NCHW" in baseline.memory_format
    assert "one parameter at a time" in baseline.optimizer
    assert tuned.compile
    assert tuned.pipeline == "torchvision"
    assert "official" in tuned.loss
    assert fast.memory_format.startswith("channels_last")
    assert "closed form" in fast.loss
    assert (baseline.capture, tuned.capture, fast.capture) == ("off", "off", "off")
    assert "the step runs eagerly: CUDA graphs need CUDA" in fast.notes
    on_gpu = build_scenario("baseline", recipe, torch.device("cuda")).record
    assert on_gpu.precision == "fp16 with a loss scaler"
    on_gpu = build_scenario("fast", recipe, torch.device("cuda")).record
    assert on_gpu.capture == "on"  # or it fails
    assert not any("eagerly" in note for note in on_gpu.notes)
    uncaptured = build_scenario("fast", recipe.replace(capture="off"), torch.device("cuda")).record
    assert uncaptured.capture == "off"


def test_official_and_closed_form_losses_agree_on_the_same_embeddings() -> None:
    recipe = load_recipe("smoke")
    torch.manual_seed(0)
    x, y = torch.randn(2, 64, 48)
    losses = [build_scenario(name, recipe, CPU).loss(x, y)[0] for name in ("baseline", "fast")]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=0)


@pytest.mark.parametrize("optimizer", ["lars", "adamw", "sgd"])
def test_baseline_and_fast_optimisers_take_the_same_steps(optimizer: str) -> None:
    recipe = load_recipe(
        "smoke", [f"optimizer={optimizer}", "width=4", "expander=16-16", "weight_decay=0.01"]
    )
    networks = []
    for make in (per_parameter_optimizer, build_optimizer):
        torch.manual_seed(1)
        network = build_network(recipe).double()
        chosen = make(recipe, network)
        set_learning_rate(chosen, 0.05)
        generator = torch.Generator().manual_seed(2)
        for _ in range(5):
            for p in network.parameters():
                p.grad = torch.randn(p.shape, generator=generator, dtype=p.dtype)
            chosen.step()
        networks.append(network)
    for first, second in zip(*(network.parameters() for network in networks), strict=True):
        torch.testing.assert_close(first, second, rtol=1e-10, atol=1e-12)


def test_what_the_official_code_does_not_have_is_refused() -> None:
    for setting in ("preset=paper", "gamma=2"):
        with pytest.raises(UsageError, match="preset"):
            build_scenario("baseline", load_recipe("smoke", [setting]), CPU)
    with pytest.raises(UsageError, match="slow"):
        build_scenario("slow", load_recipe("smoke"), CPU)
