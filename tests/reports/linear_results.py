"""Results of a linear evaluation made by hand."""

from typing import Any

from vicreg_fast.evaluation.result import (
    Answer,
    LinearResult,
    Neighbour,
    Query,
    SubjectResult,
    TriedWeight,
)

CLASSES = ("cat", "dog", "emu", "fox")
PIXEL = "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAP////////////////////////////////////8AAAA="
"""Base64 that begins like a JPEG."""


def subject(confusion: tuple[tuple[int, ...], ...], **changes: Any) -> SubjectResult:
    total = sum(map(sum, confusion))
    right = sum(row[number] for number, row in enumerate(confusion))
    fields: dict[str, Any] = {
        "linear_top1": right / total,
        "linear_train_top1": 0.9,
        "l2_weight": 0.01,
        "knn_top1": 0.6,
        "confusion": confusion,
        "tried": tuple(
            TriedWeight(l2_weight=weight, fit_top1=fit, held_out_top1=held)
            for weight, fit, held in ((0.1, 0.7, 0.6), (0.01, 0.8, 0.7), (0.001, 0.9, 0.65))
        ),
        "objective": (1.4, 1.1, 1.2, 0.9),
        "iterations": 3,
        "converged": True,
    }
    return SubjectResult(**{**fields, **changes})


def answer(predicted: int, *labels: int) -> Answer:
    near = tuple(
        Neighbour(image=f"train-{label}", label=label, similarity=0.9 - 0.1 * number)
        for number, label in enumerate(labels)
    )
    return Answer(predicted=predicted, nearest=near)


def linear_result(**changes: Any) -> LinearResult:
    """100 test images of four classes: the trunk gets 70, an untrained one 50, the pixels 30; two queries."""
    ours = ((20, 5, 0, 0), (10, 15, 0, 0), (0, 0, 20, 5), (5, 5, 0, 15))
    untrained = ((15, 5, 5, 0), (10, 10, 5, 0), (0, 5, 15, 5), (5, 5, 5, 10))
    pixels = ((10, 5, 5, 5), (10, 5, 5, 5), (5, 5, 10, 5), (10, 5, 5, 5))
    fields: dict[str, Any] = {
        "time": "2026-01-02T03:04:05+00:00",
        "checkpoint_step": 20,
        "recipe": "smoke",
        "recipe_fingerprint": "abcdef012345",
        "data": "animals",
        "train_images": 400,
        "test_images": 100,
        "classes": CLASSES,
        "results": {
            "backbone": subject(ours, answers=(answer(0, 0, 0, 1), answer(0, 0, 1, 3))),
            "random-trunk": subject(
                untrained,
                only_backbone_right=30,
                only_this_right=10,
                answers=(answer(1, 1, 2, 0), answer(1, 1, 1, 1)),
            ),
            "raw-pixels": subject(
                pixels,
                only_backbone_right=50,
                only_this_right=10,
                answers=(answer(2, 3, 3, 3), answer(2, 3, 2, 0)),
            ),
        },
        "query_rule": "two of them",
        "queries": (Query(image="test-0", label=0), Query(image="test-1", label=1)),
        "images": dict.fromkeys(("test-0", "test-1", *(f"train-{label}" for label in range(4))), PIXEL),
    }
    return LinearResult(**{**fields, **changes})
