"""From evaluations of one set to the result that `vicreg-fast linear` writes."""

from collections.abc import Mapping

from vicreg_fast.evaluation.evaluate import Evaluation, EvaluationSet
from vicreg_fast.evaluation.neighbours import QUERY_RULE
from vicreg_fast.evaluation.result import (
    Answer,
    LinearResult,
    Neighbour,
    Query,
    SubjectResult,
    TriedWeight,
)
from vicreg_fast.evaluation.thumbnails import thumbnails


def linear_result(
    evaluated: EvaluationSet, subjects: Mapping[str, Evaluation], **about: object
) -> LinearResult:
    """Of `subjects` by name: `backbone`, and floors that were given the backbone's queries. `about`: the
    other fields of a LinearResult."""
    backbone = subjects["backbone"]
    labels = {"train": evaluated.train.labels.tolist(), "test": evaluated.test.labels.tolist()}
    shown = {f"test-{index}": evaluated.test.images[index] for index in backbone.queries}
    for value in subjects.values():
        for near in value.nearest:
            shown |= {f"train-{one.image}": evaluated.train.images[one.image] for one in near}
    images = thumbnails(shown)
    queries = backbone.queries if images else ()
    right = {
        name: [p == label for p, label in zip(value.linear.predicted, labels["test"], strict=True)]
        for name, value in subjects.items()
    }

    def only(first: list[bool], second: list[bool]) -> int:
        return sum(a and not b for a, b in zip(first, second, strict=True))

    def of(name: str, value: Evaluation) -> SubjectResult:
        probe, floor = value.linear, name != "backbone"
        return SubjectResult(
            linear_top1=probe.top1,
            linear_top5=probe.top5,
            linear_train_top1=probe.train_top1,
            l2_weight=probe.l2_weight,
            knn_top1=value.knn_top1,
            confusion=probe.confusion,
            tried=tuple(TriedWeight(**tried._asdict()) for tried in probe.tried),
            objective=probe.objective,
            iterations=probe.iterations,
            converged=probe.converged,
            only_backbone_right=only(right["backbone"], right[name]) if floor else None,
            only_this_right=only(right[name], right["backbone"]) if floor else None,
            answers=tuple(
                Answer(
                    predicted=probe.predicted[index],
                    nearest=tuple(
                        Neighbour(
                            image=f"train-{one.image}",
                            label=labels["train"][one.image],
                            similarity=one.similarity,
                        )
                        for one in near
                    ),
                )
                for index, near in zip(queries, value.nearest[: len(queries)], strict=True)
            ),
        )

    return LinearResult.model_validate(
        {
            **about,
            "results": {name: of(name, value) for name, value in subjects.items()},
            "query_rule": QUERY_RULE if queries else "",
            "queries": tuple(Query(image=f"test-{index}", label=labels["test"][index]) for index in queries),
            "images": images,
        }
    )
