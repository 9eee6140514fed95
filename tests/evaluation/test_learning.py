"""The whole point: pretraining makes features that neither the network's structure nor the pixels give."""

from pathlib import Path

import pytest
import torch

from pipelines.builtin_set import make_builtin_set
from pipelines.manifest import load_manifest
from vicreg_fast.config import load_recipe
from vicreg_fast.evaluation.evaluate import EvaluationSet
from vicreg_fast.training.loop import Trainer

POINTS = 0.08
"""By how much the probe of the trained trunk beats each floor, as a share of the test images."""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_smoke_recipe_learns_more_than_its_floors(tmp_path: Path) -> None:
    recipe = load_recipe("smoke", ["pipeline=dali", "epochs=4"])
    device = torch.device("cpu")
    root = make_builtin_set(tmp_path / "set", train=2000, test=1000, size=(80, 80))
    train, test = load_manifest(root), load_manifest(root, split="test")
    data = EvaluationSet(train, test, image_size=recipe.probe_size, workers=0, device=device)
    trainer = Trainer(recipe, train, device)
    try:
        assert trainer.run()
    finally:
        trainer.close()
    learnt = data.trunk(trainer.train_step.network.backbone).linear.top1
    random_trunk = data.random_trunk(recipe).linear.top1
    pixels = data.raw_pixels().linear.top1
    said = f"learnt {learnt:.3f}, random trunk {random_trunk:.3f}, raw pixels {pixels:.3f}"
    print(said)
    assert learnt >= random_trunk + POINTS, said
    assert learnt >= pixels + POINTS, said
