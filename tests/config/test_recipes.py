"""What the shipped recipes say: the authors' numbers, pinned by hand from main_vicreg.py and the paper."""

import pytest

from vicreg_fast.config import Recipe, load_recipe, recipe_names

SHIPPED = ["cifar10-r18", "imagenet-r50-1000ep", "imagenet-r50-100ep", "smoke"]


def test_the_shipped_recipes_are_these_and_each_loads_under_its_own_name() -> None:
    assert recipe_names() == SHIPPED
    assert [load_recipe(name).name for name in SHIPPED] == SHIPPED


@pytest.mark.parametrize(
    ("name", "epochs", "batch_size", "base_lr", "peak_lr"),
    [("imagenet-r50-100ep", 100, 512, 0.3, 0.6), ("imagenet-r50-1000ep", 1000, 2048, 0.2, 1.6)],
)
def test_imagenet_recipes_are_the_authors(
    name: str, epochs: int, batch_size: int, base_lr: float, peak_lr: float
) -> None:
    recipe = load_recipe(name)
    assert (recipe.epochs, recipe.batch_size, recipe.base_lr) == (epochs, batch_size, base_lr)
    assert recipe.peak_lr == pytest.approx(peak_lr, rel=1e-15)
    assert (recipe.backbone, recipe.width, recipe.stem, recipe.image_size) == (
        "resnet50",
        64,
        "imagenet",
        224,
    )
    assert recipe.expander_widths == (8192, 8192, 8192)
    assert recipe.zero_init_residual
    assert recipe.sync_batchnorm
    assert recipe.forward == "separate"
    assert recipe.augmentation == "official"
    assert (recipe.optimizer, recipe.momentum, recipe.trust_coefficient) == ("lars", 0.9, 0.001)
    assert recipe.weight_decay == 1e-6
    assert (recipe.warmup_epochs, recipe.final_lr_factor, recipe.max_steps) == (10, 0.001, 0)
    assert (recipe.preset, recipe.gamma) == ("official", 1)
    assert (recipe.invariance_weight, recipe.variance_weight, recipe.covariance_weight) == (25, 25, 1)


def test_the_smoke_recipe_is_small_and_runs_on_a_cpu() -> None:
    recipe = load_recipe("smoke")
    assert (recipe.backbone, recipe.width, recipe.stem, recipe.image_size) == ("resnet10", 8, "cifar", 32)
    weights = (recipe.invariance_weight, recipe.variance_weight, recipe.covariance_weight)
    assert [weight / weights[2] for weight in weights] == pytest.approx([25, 25, 1]), "the authors' ratios"


def test_every_recipe_leaves_the_precision_to_the_machine() -> None:
    assert {load_recipe(name).precision for name in recipe_names()} == {"auto"}


def test_learning_rate_scales_with_the_batch_over_256() -> None:
    assert Recipe(base_lr=0.5, batch_size=256).peak_lr == 0.5
    assert Recipe(base_lr=0.5, batch_size=64).peak_lr == 0.125
