"""`vicreg-fast linear`."""

import json
from pathlib import Path

import click

from vicreg_fast.commands import common
from vicreg_fast.errors import CheckpointError, UsageError


@click.command(name="linear")
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@common.data_option
@common.device_option
@click.option("--floors/--no-floors", default=False, help="Also probe an untrained trunk and the raw pixels.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where to write the result.  [default: RUN/linear.json]",
)
def command(run: Path, data: Path | None, device: str, floors: bool, out: Path | None) -> None:
    """Measure the backbone of RUN (its folder, or a checkpoint file) on labelled images.

    A linear probe on frozen features (multinomial logistic regression, solved to its optimum) and 20 nearest
    neighbours, both fitted on train/ and measured on test/.
    """
    from pipelines.manifest import load_manifest
    from vicreg_fast.evaluation.evaluate import EvaluationSet
    from vicreg_fast.model import build_network
    from vicreg_fast.training.checkpoint import checkpoint_recipe, load_checkpoint, load_network

    on = common.choose_device(device)
    file = run / "checkpoint.pt" if run.is_dir() else run
    if run.is_dir() and not file.exists():
        raise CheckpointError(
            f"{file}: no such checkpoint; pretrain first with `vicreg-fast pretrain --out {run}`"
        )
    content = load_checkpoint(file)
    recipe = checkpoint_recipe(content, file)
    network = build_network(recipe)
    load_network(network, content, file)

    where, name = common.choose_data(data, recipe)
    with common.progress_bar("checking the images") as advance:
        train = load_manifest(where, progress=advance)
    if not train.classes:
        raise UsageError(
            f"{where}: has no classes; a linear probe needs train/CLASS/*.jpg and test/CLASS/*.jpg"
        )
    test = load_manifest(where, split="test")
    if test.classes != train.classes:
        odd = sorted(set(train.classes) ^ set(test.classes))[0]
        raise UsageError(f"{where}: train and test have different classes; {odd!r} is in only one of them")
    for manifest in (train, test):
        if manifest.skipped:
            click.echo(f"vicreg-fast: {manifest.summary()}", err=True)

    evaluation = EvaluationSet(
        train, test, image_size=recipe.probe_size or recipe.image_size, workers=recipe.workers, device=on
    )
    subjects = {"backbone": evaluation.trunk(network.backbone.to(on))}
    if floors:
        subjects["random-trunk"] = evaluation.random_trunk(recipe)
        subjects["raw-pixels"] = evaluation.raw_pixels()
    result = {
        "checkpoint_step": content["step"],
        "recipe": recipe.name,
        "recipe_fingerprint": recipe.fingerprint(),
        "data": name,
        "train_images": len(train),
        "test_images": len(test),
        "classes": list(train.classes),
        "results": {
            subject: {
                "linear_top1": value.linear.top1,
                "linear_top5": value.linear.top5,
                "linear_train_top1": value.linear.train_top1,
                "l2_weight": value.linear.l2_weight,
                "knn_top1": value.knn_top1,
                "confusion": value.linear.confusion,
            }
            for subject, value in subjects.items()
        },
    }
    for subject, value in subjects.items():
        click.echo(
            f"{subject}: linear {100 * value.linear.top1:.1f} %, {_neighbours()} {100 * value.knn_top1:.1f} %"
        )
    target = out or file.parent / "linear.json"
    try:
        target.write_text(json.dumps(result, indent=1), encoding="utf-8")
    except OSError as error:
        raise CheckpointError(
            f"{target}: cannot be written ({error.strerror}); name another file with --out"
        ) from error


def _neighbours() -> str:
    from vicreg_fast.evaluation.knn import NEIGHBOURS

    return f"{NEIGHBOURS}-NN"
