"""What `vicreg-fast linear` leaves behind: one JSON file that a report can be made of without the images.

Accuracies are in [0, 1]. Files of before `schema_version` load as version 1, with what they lack left empty.
Importing this imports no torch: reports read results on machines that have none.
"""

import contextlib
import json
import os
import re
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vicreg_fast.errors import CheckpointError, RecordError

SCHEMA_VERSION: Final = 1
KIND: Final = "linear-evaluation"

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Weight = Annotated[float, Field(gt=1e-30, lt=1e30)]
Base64 = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]+={0,2}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TriedWeight(_Part):
    """One L2 weight of the probe's grid, fitted to nine tenths of the training images."""

    l2_weight: Weight
    fit_top1: Share
    """On those nine tenths."""
    held_out_top1: Share
    """On the tenth that chooses the weight."""


class Neighbour(_Part):
    image: str
    """Key into `LinearResult.images`."""
    label: Count
    """Index into `LinearResult.classes`, as every label here."""
    similarity: float
    """Cosine, in [−1, 1]."""


class Answer(_Part):
    """What one representation makes of one query."""

    predicted: Count
    """By the probe."""
    nearest: tuple[Neighbour, ...]
    """Training images, the most similar first."""


class Query(_Part):
    image: str
    label: Count


class SubjectResult(_Part):
    """One representation: the trunk's, or a floor's."""

    linear_top1: Share
    linear_top5: Share | None = None
    """None with fewer than six classes."""
    linear_train_top1: Share
    l2_weight: Weight
    knn_top1: Share
    confusion: tuple[tuple[Count, ...], ...]
    """Test images by true class (rows) and predicted class (columns)."""
    tried: tuple[TriedWeight, ...] = ()
    objective: tuple[float, ...] = ()
    """Of the final fit: the regularised cross-entropy at each evaluation, trial steps of the line search
    among them."""
    iterations: Count | None = None
    converged: bool | None = None
    """Whether the final fit ended by its tolerances and not by its limits."""
    only_backbone_right: Count | None = None
    """Of a floor: test images that the trunk's probe gets right and this one does not."""
    only_this_right: Count | None = None
    answers: tuple[Answer, ...] = ()
    """One a query."""


class LinearResult(_Part):
    schema_version: Literal[1] = SCHEMA_VERSION
    kind: Literal["linear-evaluation"] = KIND
    time: str | None = None
    """UTC, ISO 8601."""
    checkpoint_step: Count
    recipe: str
    recipe_fingerprint: str
    data: str
    """In words; never a path."""
    train_images: Count
    test_images: Count
    classes: tuple[str, ...]
    knn_neighbours: Count = 20
    results: dict[str, SubjectResult]
    """`backbone`, and the floors `random-trunk` and `raw-pixels` where they were asked for."""
    query_rule: str = ""
    """How the queries were chosen."""
    queries: tuple[Query, ...] = ()
    images: dict[str, Base64] = Field(default_factory=dict)
    """Thumbnails, JPEG in base64."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if "backbone" not in self.results:
            raise ValueError("results has no backbone")
        labels = [query.label for query in self.queries]
        keys = [query.image for query in self.queries]
        for name, result in self.results.items():
            if {len(result.confusion), *map(len, result.confusion)} != {len(self.classes)}:
                raise ValueError(f"{name}: confusion is not classes × classes")
            if result.answers and len(result.answers) != len(self.queries):
                raise ValueError(f"{name}: {len(result.answers)} answers for {len(self.queries)} queries")
            for answer in result.answers:
                labels += [answer.predicted, *(neighbour.label for neighbour in answer.nearest)]
                keys += [neighbour.image for neighbour in answer.nearest]
        if max(labels, default=0) >= len(self.classes):
            raise ValueError(f"there is no class {max(labels)}")
        if missing := sorted(set(keys) - self.images.keys()):
            raise ValueError(f"there is no image {missing[0]!r}")
        return self


def write_result(result: LinearResult, file: Path) -> None:
    """Whole or not at all. Raises CheckpointError, in one line, where it cannot be written."""
    text = json.dumps(result.model_dump(mode="json"), indent=1)
    # A matrix with a number a line would have a million lines for a thousand classes.
    text = re.sub(
        r"\[\n[-+.\deE,\s]+\]", lambda numbers: "[" + " ".join(numbers[0][1:-1].split()) + "]", text
    )
    scratch = file.with_name(f".{file.name}-new")
    try:
        with scratch.open("w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        scratch.replace(file)
    except OSError as error:
        with contextlib.suppress(OSError):
            scratch.unlink()
        raise CheckpointError(
            f"{file}: cannot be written ({error.strerror}); name another file with --out"
        ) from error


def is_result(file: Path) -> bool:
    """Whether it looks like one, of any version; says no of what cannot be read."""
    content = _content(file) if file.suffix == ".json" else None
    return isinstance(content, dict) and (
        content.get("kind") == KIND or {"results", "classes", "checkpoint_step"} <= content.keys()
    )


def read_result(file: Path) -> LinearResult:
    """Raises RecordError, in one line, when the file cannot be read, is no result, or is of a newer
    version."""
    content = _content(file)
    again = "; make it again with `vicreg-fast linear`"
    if isinstance(content, OSError):
        raise RecordError(f"{file}: cannot be read ({content.strerror})") from content
    if not isinstance(content, dict):
        raise RecordError(f"{file}: is not a whole JSON object (a torn write?){again}")
    version = content.get("schema_version", SCHEMA_VERSION)
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise RecordError(
            f"{file}: schema {version} is newer than this version reads ({SCHEMA_VERSION}); "
            "upgrade vicreg-fast"
        )
    try:
        return LinearResult.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        raise RecordError(
            f"{file}: is not a result of vicreg-fast linear ({f'{place}: ' if place else ''}{reason}){again}"
        ) from error


def _content(file: Path) -> object:
    """What the JSON holds, None where it is none, or the OSError."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        return error
    except (ValueError, RecursionError):
        return None
