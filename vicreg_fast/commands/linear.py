"""`vicreg-fast linear`."""

import shlex
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
    """Evaluate the backbone of RUN (its folder, or a checkpoint file) on labelled images.

    A linear probe on frozen features (multinomial logistic regression, by L-BFGS) and 20 nearest neighbours,
    both fitted on train/ and measured on test/. `vicreg-fast report` makes a page of the result.
    """
    from bench.record_base import utc_now
    from pipelines.manifest import load_manifest
    from vicreg_fast.evaluation.collect import linear_result
    from vicreg_fast.evaluation.evaluate import EvaluationSet
    from vicreg_fast.evaluation.knn import NEIGHBOURS
    from vicreg_fast.evaluation.neighbours import choose_queries
    from vicreg_fast.evaluation.result import write_result
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
    trunk = evaluation.trunk(
        network.backbone.to(on),
        queries=lambda predicted: choose_queries(evaluation.test.labels, predicted, evaluation.classes),
    )
    subjects = {"backbone": trunk}
    if floors:
        subjects["random-trunk"] = evaluation.random_trunk(recipe, queries=lambda _: trunk.queries)
        subjects["raw-pixels"] = evaluation.raw_pixels(queries=lambda _: trunk.queries)
    for subject, value in subjects.items():
        click.echo(
            f"{subject}: linear {100 * value.linear.top1:.1f} %, {NEIGHBOURS}-NN {100 * value.knn_top1:.1f} %"
        )
    result = linear_result(
        evaluation,
        subjects,
        time=utc_now(),
        checkpoint_step=content["step"],
        recipe=recipe.name,
        recipe_fingerprint=recipe.fingerprint(),
        data=name,
        train_images=len(train),
        test_images=len(test),
        classes=train.classes,
        knn_neighbours=NEIGHBOURS,
    )
    target = out or file.parent / "linear.json"
    write_result(result, target)
    # A run's own report has its evaluation in it.
    whole = out is None and (target.parent / "recipe.toml").exists()
    click.echo(f"next: vicreg-fast report {shlex.quote(str(target.parent if whole else target))}")
