"""The scenarios differ in how they train, never in what."""

import pytest
import torch

from bench.changes import ladder_scenarios
from bench.rival_optimizers import per_parameter_optimizer
from bench.scenarios import build_scenario, recipe_ladder
from vicreg_fast.config import load_recipe
from vicreg_fast.errors import UsageError
from vicreg_fast.model import build_network
from vicreg_fast.training import precision
from vicreg_fast.training.optimizers import build_optimizer, set_learning_rate

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
HOW = {"pipeline", "precision", "channels_last", "compile", "capture", "parallel_views", "keep_memory"}


@pytest.fixture(autouse=True)
def _no_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine multiplies."""
    monkeypatch.setattr(precision, "_cpu_capabilities", dict)
    monkeypatch.setattr(precision, "_gpu_multiplies_bf16", lambda _: False)


@pytest.fixture
def bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_cpu_capabilities", lambda: {"avx512_bf16": True})
    monkeypatch.setattr(precision, "_onednn_takes_bf16", lambda: True)
    monkeypatch.setattr(precision, "_gpu_multiplies_bf16", lambda _: True)


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
    on_gpu = build_scenario("baseline", recipe, CUDA).record
    assert on_gpu.precision == "fp16 with a loss scaler"
    on_gpu = build_scenario("fast", recipe, CUDA).record
    assert on_gpu.capture == "on"  # or it fails
    assert not any("eagerly" in note for note in on_gpu.notes)
    uncaptured = build_scenario("fast", recipe.replace(capture="off"), CUDA).record
    assert uncaptured.capture == "off"


def test_plain_is_the_baseline_in_fp32() -> None:
    recipe = load_recipe("smoke", ["optimizer=lars"])
    for device, official in ((CPU, "fp32"), (CUDA, "fp16")):
        plain, baseline = (build_scenario(name, recipe, device) for name in ("plain", "baseline"))
        assert plain.recipe.precision == "fp32"
        assert plain.recipe == baseline.recipe.replace(precision="fp32")
        assert baseline.recipe.precision == official
        assert plain.make_optimizer is baseline.make_optimizer is per_parameter_optimizer
        assert plain.record.loss == baseline.record.loss


@pytest.mark.usefixtures("bf16")
@pytest.mark.parametrize("device", [CPU, CUDA], ids=str)
def test_tuned_and_fast_have_the_precision_that_auto_finds_and_say_why(device: torch.device) -> None:
    recipe = load_recipe("smoke")
    why = "this CPU multiplies bf16 (AVX512_BF16)" if device == CPU else "this GPU multiplies bf16"
    for name in ("tuned", "fast", "plain+amp"):
        built = build_scenario(name, recipe, device)
        assert (built.recipe.precision, built.record.precision) == ("bf16", "bf16")
        assert f"bf16: {why}" in built.record.notes
    for name in ("plain", "baseline", "fast-amp"):
        built = build_scenario(name, recipe, device)
        assert built.recipe.precision == ("fp16" if (name, device) == ("baseline", CUDA) else "fp32")
        assert why not in " ".join(built.record.notes)
    rung = recipe_ladder(recipe, device)[0]
    assert (rung.change, rung.missing) == ("amp", None)
    assert rung.forwards == ("plain", "plain+amp")
    assert rung.backwards == ("fast-amp", "fast")


@pytest.mark.usefixtures("bf16")
@pytest.mark.parametrize("device", [CPU, CUDA], ids=str)
def test_where_bf16_is_not_to_be_had_the_rung_says_why(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = load_recipe("smoke", ["precision=fp32"])
    assert recipe_ladder(asked, device)[0].missing == "the recipe has precision = 'fp32'"
    monkeypatch.setenv("VICREG_FAST_NO_BF16", "1")
    recipe = load_recipe("smoke")
    rung = recipe_ladder(recipe, device)[0]
    assert (rung.change, rung.missing) == ("amp", "VICREG_FAST_NO_BF16 is set")
    assert (rung.forwards, rung.backwards) == (None, None)
    for name in ("tuned", "fast"):
        record = build_scenario(name, recipe, device).record
        assert record.precision == "fp32"
        assert "fp32: VICREG_FAST_NO_BF16 is set" in record.notes
    with pytest.raises(UsageError, match="amp cannot be had here: VICREG_FAST_NO_BF16 is set"):
        build_scenario("plain+amp", recipe, device)


@pytest.mark.usefixtures("bf16")
def test_all_changes_make_fast_of_plain_and_each_can_be_taken_away() -> None:
    recipe = load_recipe("smoke")
    device = CUDA
    fast = build_scenario("fast", recipe, device)
    assert fast.recipe == recipe.replace(
        pipeline="dali",
        precision="bf16",
        channels_last=True,
        capture="on",
        parallel_views="off",
        keep_memory="off",
    ), "one view keeps a GPU busy"
    assert fast.make_optimizer is build_optimizer
    made = build_scenario("plain+amp+channels_last+dali+fused_loss+foreach+capture", recipe, device)
    assert made.recipe == fast.recipe
    assert made.record.loss == fast.record.loss
    assert made.make_optimizer is fast.make_optimizer
    for name, field, value in (
        ("fast-amp", "precision", "fp32"),
        ("fast-channels_last", "channels_last", False),
        ("fast-dali", "pipeline", "torchvision"),
        ("fast-capture", "capture", "off"),
        ("fast+compile", "compile", True),
    ):
        assert build_scenario(name, recipe, device).recipe == fast.recipe.replace(**{field: value})
    assert "official" in build_scenario("fast-fused_loss", recipe, device).record.loss
    assert "one parameter" in build_scenario("fast-foreach-capture", recipe, device).record.optimizer


def test_every_rung_can_be_built_and_says_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("CC", "CXX"):
        monkeypatch.setenv(variable, "sh")  # in the place of a compiler: one is looked for, and not used
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    recipe = load_recipe("smoke")
    for device in (CPU, CUDA):
        rungs = recipe_ladder(recipe, device)
        for name in ladder_scenarios(rungs):
            record = build_scenario(name, recipe, device).record
            assert record.name == name
            assert len(record.description) > 20
    assert {rung.change for rung in recipe_ladder(recipe, CPU) if rung.missing} == {"amp", "capture", "apex"}
    half = recipe_ladder(recipe.replace(precision="bf16"), CPU)
    assert {rung.change for rung in half if rung.missing} == {"capture", "apex"}


@pytest.mark.parametrize("threads", [1, 2])
def test_fast_runs_both_views_at_once_where_there_are_threads(
    monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    recipe = load_recipe("smoke")
    fast = build_scenario("fast", recipe, CPU)
    assert fast.recipe.parallel_views == ("auto" if threads == 2 else "off")
    assert any("both views at once" in note for note in fast.record.notes) == (threads == 2)
    for name in ("plain", "baseline", "tuned"):
        assert build_scenario(name, recipe, CPU).recipe.parallel_views == "off"


def test_a_machine_without_a_compiler_has_no_compiled_rung(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    compiled = next(rung for rung in recipe_ladder(load_recipe("smoke"), CPU) if rung.change == "compile")
    assert compiled.forwards is None
    assert compiled.missing == "torch.compile finds no compiler"


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
    with pytest.raises(UsageError, match=r"apex-fusedlamb.*lars"):
        build_scenario("baseline", load_recipe("smoke", ["optimizer=apex-fusedlamb"]), CPU)
    with pytest.raises(UsageError, match="fp16"):
        build_scenario("fast", load_recipe("smoke", ["precision=fp16"]), CPU)


def test_apex_is_measured_beside_the_eager_step_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its kernels are told the learning rate by Python, which a graph would keep. Another optimiser than the
    recipe's, it says so."""
    cuda, recipe = CUDA, load_recipe("smoke", ["precision=bf16"])
    for variable in ("CC", "CXX"):
        monkeypatch.setenv(variable, "sh")
    monkeypatch.setattr("bench.scenarios.find_apex", lambda: "kernels")
    rung = recipe_ladder(recipe, cuda)[-1]
    assert (rung.change, rung.backwards) == ("apex", None)
    assert rung.forwards == ("fast-capture", "fast-capture+apex")
    built = build_scenario(rung.forwards[1], recipe, cuda)
    assert (built.recipe.optimizer, built.recipe.capture) == ("apex-fusedsgd", "off")
    assert built.record.optimizer == "apex-fusedsgd, fused"
    assert "in place of the recipe's optimiser" in built.record.description
    with pytest.raises(UsageError, match="apex excludes capture"):
        build_scenario("fast+apex", recipe, cuda)
    monkeypatch.setattr("bench.scenarios.find_apex", lambda: "another")
    assert "NVIDIA's apex is not here" in (recipe_ladder(recipe, cuda)[-1].missing or "")
