"""Folders of pretraining runs made by hand."""

import json
from pathlib import Path
from typing import Any

from bench.record import Environment
from bench.session_record import Session
from vicreg_fast.config import load_recipe

Line = dict[str, Any]


def line_of(step: int, total: int = 20) -> Line:
    """One of a healthy run of 5 steps an epoch."""
    done = step / total
    terms = {"invariance": 0.2 - 0.1 * done, "variance": 0.6 - 0.3 * done, "covariance": 1.0 + done}
    return {
        "step": step,
        "epoch": step / 5,
        "loss": 25 * terms["invariance"] + 25 * terms["variance"] + terms["covariance"],
        **terms,
        "std_mean": 0.3 + 0.5 * done,
        "std_min": 0.2 + 0.3 * done,
        "dead_fraction": 0.0,
        "effective_rank": 10 + 20 * done,
        "off_diagonal_energy": 0.9 - 0.5 * done,
        "learning_rate": 0.1 * (1 - done),
        "pairs_per_second": 100.0,
        "loader_wait_share": 0.02,
        "seconds": 1.28 * step,
    }


def session(from_step: int) -> Session:
    return Session(
        time="2026-01-02T03:04:05+00:00",
        from_step=from_step,
        steps_per_epoch=5,
        total_steps=20,
        device="cpu",
        pipeline="dali",
        world_size=1,
        environment=Environment(
            processor="Test CPU", cores=8, memory_bytes=2**35, system="Linux", versions={"torch": "2.15.0"}
        ),
    )


def run_folder(
    folder: Path,
    lines: list[Line] | None = None,
    *,
    raw: str = "",
    sessions: tuple[int, ...] = (0,),
    recipe: str | None = None,
    **settings: Any,
) -> Path:
    """Of `line_of` steps 1 to 20 unless `lines` are given, then `raw`; the smoke recipe with `settings`, or
    the text `recipe`; one session from each step of `sessions`."""
    folder.mkdir(exist_ok=True)
    if recipe is None:
        changed = load_recipe("smoke").replace(**{"max_steps": 20, "log_every_steps": 1, **settings})
        recipe = changed.to_toml()
    (folder / "recipe.toml").write_text(recipe)
    found = [line_of(step) for step in range(1, 21)] if lines is None else lines
    text = "".join(json.dumps(line) + "\n" for line in found)
    (folder / "metrics.jsonl").write_text(text + raw)
    (folder / "sessions.jsonl").write_text("".join(session(at).model_dump_json() + "\n" for at in sessions))
    return folder
