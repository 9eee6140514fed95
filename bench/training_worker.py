"""A process of `bench.trainings`: it trains scenarios whole and probes them, one job after the other."""

import os
from multiprocessing.connection import Connection

import torch

from bench.accuracy import measure_accuracy, measure_floors
from bench.orders import Answer, Note
from bench.scenarios import build_scenario
from bench.trainings import FLOORS, Training, TrainingSetup
from bench.worker_process import serve_orders
from pipelines.manifest import load_manifest
from vicreg_fast.evaluation.evaluate import EvaluationSet


def serve_trainings(connection: Connection, setup: TrainingSetup) -> None:
    """The process's main: carries out jobs until the pipe closes."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(setup.scratch / "trainings"))
    device = torch.device(setup.device)
    recipe = setup.recipe
    if setup.side_by_side > 1:
        torch.set_num_threads(1)
        recipe = recipe.replace(workers=1)
    manifest = load_manifest(setup.data)
    evaluation: EvaluationSet | None = None  # opened by a job, so that what is wrong with it is told

    def answer(job: Training) -> Answer:
        nonlocal evaluation
        if evaluation is None:
            evaluation = EvaluationSet(
                manifest,
                load_manifest(setup.data, split="test"),
                image_size=recipe.probe_size or recipe.image_size,
                workers=recipe.workers,
                device=device,
            )
        if job.subject == FLOORS:
            seeded = recipe.replace(seed=job.seed)
            return Answer(records=measure_floors(seeded, evaluation, with_pixels=job.pixels))
        found = measure_accuracy(
            build_scenario(job.subject, recipe, device),
            manifest,
            evaluation,
            device,
            seed=job.seed,
            curve=job.curve,
            tell=lambda text: connection.send(Note(text=text)),
        )
        return Answer(records=(found.model_copy(update={"side_by_side": setup.side_by_side}),))

    serve_orders(connection, answer)
