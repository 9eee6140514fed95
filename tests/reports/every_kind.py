"""Records of every kind of report, the least that shows every picture, for what holds of all pages."""

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from bench.ladder_record import LadderRung
from bench.loader_record import (
    CROP,
    WHOLE,
    LoaderFidelity,
    LoaderPlan,
    LoaderRate,
    LoaderSubject,
    OperationDifference,
)
from bench.record import Environment, RecordWriter
from tests.reports.loss_runs import LossRun
from tests.reports.proof_runs import full_proof
from tests.reports.regression_runs import RegressionRun
from tests.reports.scaling_runs import scaling_file
from vicreg_fast.config import load_recipe
from vicreg_fast.evaluation.result import (
    Answer,
    LinearResult,
    Neighbour,
    Query,
    SubjectResult,
    TriedWeight,
    write_result,
)

LONG = "a-name-that-has-no-place-to-break-it-and-goes-on-for-longer-than-a-phone-is-wide"


def every_kind(new_run: Callable[..., Any], folder: Path) -> dict[str, Path]:
    """Name of the kind, as `reports.dispatch` has it, to its records."""
    losses = LossRun(folder / "losses.jsonl", "official", "auto", LONG)
    losses.timed({"official": 2.0, "auto": 1.0, LONG: 3.0})
    losses.checked("auto").held("official", 8.0).held("auto", 2.0).floor(0.5)
    regression = RegressionRun(folder / "regression.jsonl", "gram-256x2048-float32", LONG)
    regression.timed("gram-256x2048-float32", 1.2, attempts=(0, 1)).timed(LONG)
    regression.gate(LONG, "operators", 10, 12)
    return {
        "a comparison": ladder_run(new_run),
        "a run of bench loss": losses.write(),
        "a run of bench loss --against": regression.write(),
        "a run of bench loader": loader_file(folder / "loader.jsonl"),
        "a scaling model": scaling_file(folder / "scaling.jsonl"),
        "a proof": full_proof(folder / "proof").ended(LONG, "failed", LONG).folder,
        "a pretraining run": run_folder(folder / "run"),
        "a linear evaluation": linear_file(folder / "linear.json"),
    }


def ladder_run(new_run: Callable[..., Any]) -> Path:
    """Three changes, one not here, and one on top."""
    names = ("plain", "plain+channels_last", "fast", "fast-channels_last", "fast+compile")
    run = new_run(
        *names,
        baseline="plain",
        rounds=6,
        ladder=(
            LadderRung(change="amp", description="bf16", missing="needs CUDA"),
            LadderRung(
                change="channels_last", description="NHWC", forwards=names[:2], backwards=(names[3], names[2])
            ),
            LadderRung(change="dali", description="DALI", forwards=names[1:3]),
            LadderRung(change="compile", description="torch.compile", forwards=("fast", "fast+compile")),
        ),
    )
    for number, name in enumerate(names):
        for mode in ("end-to-end", "compute-only", "loader-only"):
            run.throughput(name, [100.0 + 10 * number + round_ for round_ in range(6)], mode, wait=0.05)
        run.memory(name, 1.0 + number)
    path: Path = run.write()
    return path


def loader_file(path: Path) -> Path:
    """Two loaders at two numbers of threads, one of them off in what it draws."""
    writer = RecordWriter(path)
    writer.write(Environment(processor="Test CPU", cores=2, memory_bytes=2**34, system="Linux"))
    subjects = tuple(
        LoaderSubject(name=name, pipeline=name, decoder="its own", description=f"What {name} is")
        for name in ("torchvision-stock", "dali")
    )
    writer.write(
        LoaderPlan(
            command="vicreg-fast bench loader", device="cpu", data="400 images", augmentation="official",
            subjects=subjects, baseline="torchvision-stock", threads=(1, 2), image_sizes=(96,),
            batch_sizes=(32,), rounds=6, seconds=1.0,
        )
    )  # fmt: skip
    for round_ in range(6):
        for number, subject in enumerate(subjects):
            for threads in (1, 2):
                rate = (100.0 + round_) * threads * (1 + number)
                writer.write(
                    LoaderRate(
                        subject=subject.name, threads=threads, image_size=96, batch_size=32, round=round_,
                        position=number, pid=1, batches_per_window=2, window_seconds=(64 / rate,) * 3,
                        cpu_seconds=threads * 3 * 64 / rate,
                    )
                )  # fmt: skip
    for number, subject in enumerate(subjects):
        operations = (
            OperationDifference(operation=CROP, mean=0.2 + number, worst_image=1.0 + number),
            OperationDifference(operation=WHOLE, mean=0.3 + number, worst_image=1.5 + number),
        )
        writer.write(LoaderFidelity(subject=subject.name, image_size=96, images=8, operations=operations))
    writer.close()
    return path


def run_folder(folder: Path) -> Path:
    """Forty steps, resumed once."""
    folder.mkdir()
    (folder / "recipe.toml").write_text(load_recipe("smoke", ("max_steps=40",)).to_toml())
    lines = [
        {
            "step": step, "epoch": step / 20, "loss": 50.0 / step, "invariance": 0.1, "variance": 0.5,
            "covariance": 20.0 / step, "learning_rate": 0.01, "std_mean": 0.5, "std_min": 0.2,
            "dead_fraction": 0.0, "effective_rank": 10.0 + step, "off_diagonal_energy": 1.0,
            "pairs_per_second": 300.0 + step, "loader_wait_share": 0.1, "seconds": 0.4 * step,
        }
        for step in (*range(5, 30, 5), *range(20, 45, 5))
    ]  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def linear_file(file: Path) -> Path:
    """Two classes, one query, and a floor."""
    picture = io.BytesIO()
    Image.new("RGB", (8, 8), "teal").save(picture, "JPEG")
    answer = Answer(predicted=1, nearest=(Neighbour(image="near", label=0, similarity=0.9),) * 5)
    subject = SubjectResult(
        linear_top1=0.7, linear_train_top1=0.8, l2_weight=0.1, knn_top1=0.6, confusion=((7, 3), (3, 7)),
        tried=tuple(TriedWeight(l2_weight=10.0**p, fit_top1=0.8, held_out_top1=0.7) for p in (-2, -1, 0)),
        objective=(0.7, 0.6, 0.55), iterations=2, converged=True, answers=(answer,),
    )  # fmt: skip
    floor = subject.model_copy(update={"only_backbone_right": 4, "only_this_right": 1})
    result = LinearResult(
        checkpoint_step=40, recipe="smoke", recipe_fingerprint="abcdef012345", data="40 images",
        train_images=40, test_images=20, classes=("cat", LONG), query_rule="the first of each class",
        queries=(Query(image="query", label=0),), results={"backbone": subject, "random-trunk": floor},
        images=dict.fromkeys(("query", "near"), base64.b64encode(picture.getvalue()).decode()),
    )  # fmt: skip
    write_result(result, file)
    return file
