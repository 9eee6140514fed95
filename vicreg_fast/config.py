"""Recipes: every knob of a pretraining run, frozen and validated.

A recipe is data. The named ones ship as TOML beside this package (`vicreg_fast/recipes/`); a user's own is a
TOML file with the same keys, and `--set key=value` changes one key of either. Unknown keys and wrong types
are refused with the nearest valid name. This module never imports torch, so that the command line may read
recipes at once.
"""

import difflib
import hashlib
import json
import math
import tomllib
from collections.abc import Collection, Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from vicreg_fast.errors import UsageError

Backbone = Literal["resnet10", "resnet18", "resnet34", "resnet50", "resnet101"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
PositiveInt = Annotated[int, Field(gt=0)]


class Recipe(BaseModel):
    """One pretraining run, whole: two runs with equal recipes, data and machine do the same work."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    name: str = "custom"

    # Views
    augmentation: Literal["official", "small-images"] = "official"
    """The augmentation's name in `pipelines.spec`."""
    image_size: Annotated[int, Field(ge=8, le=1024)] = 224
    """Side of a view, in pixels."""
    pipeline: Literal["auto", "dali", "torchvision"] = "auto"
    decoder_cache: Literal["auto", "off"] = "auto"
    """`auto`: DALI keeps a data set that is small enough decoded in memory."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Loader workers (torchvision) or threads (DALI) a rank; 0 takes the processor's cores, at most 16."""

    # Network
    backbone: Backbone = "resnet50"
    width: Annotated[int, Field(ge=4, le=512)] = 64
    """Channels of the first stage; 64 is the standard network."""
    stem: Literal["imagenet", "cifar"] = "imagenet"
    """`cifar`: a 3×3 stride-1 first convolution and no max pooling, for images of some 32 pixels."""
    zero_init_residual: bool = True
    expander: str = "8192-8192-8192"
    """Layer widths; BN+ReLU after all but the last, which has no bias (official
    `main_vicreg.py:Projector`)."""
    sync_batchnorm: bool = True
    """With several ranks, BatchNorm's statistics are those of the global batch (as official)."""
    forward: Literal["separate", "joint"] = "separate"
    """`separate`: each view through the network by itself, so BatchNorm sees one view at a time (as
    official)."""

    parallel_views: Literal["auto", "off"] = "auto"
    """`auto`: on a CPU with two threads or more, both views go through the network at once, each on half of
    the threads. The weights are the same."""
    keep_memory: Literal["auto", "off"] = "auto"
    """`auto`: on a CPU the process keeps what it frees (`vicreg_fast.training.allocator`)."""

    # Loss (see `vicreg_fast.loss`)
    preset: Literal["official", "paper", "summed", "no-eps"] = "official"
    invariance_weight: Annotated[float, Field(ge=0)] = 25.0
    variance_weight: Annotated[float, Field(ge=0)] = 25.0
    covariance_weight: Annotated[float, Field(ge=0)] = 1.0
    gamma: Annotated[float, Field(gt=0)] = 1.0
    loss_form: Literal["auto", "gram", "covariance"] = "auto"
    loss_backend: Literal["auto", "torch", "triton"] = "auto"

    # Optimisation
    batch_size: Annotated[int, Field(ge=2)] = 512
    """Global batch, in images (each makes one pair of views): what one update of the weights sees."""
    accumulate: PositiveInt = 1
    """Micro-batches whose gradients an update averages, each of batch_size / accumulate images in all.
    The loss's statistics are a micro-batch's, so this is not the gradient of the whole batch at once."""
    epochs: PositiveInt = 100
    max_steps: Annotated[int, Field(ge=0)] = 0
    """When positive, the run and its schedule end after so many steps instead of after `epochs`."""
    optimizer: Literal["lars", "adamw", "sgd", "apex-fusedsgd", "apex-fusedlamb"] = "lars"
    base_lr: Annotated[float, Field(gt=0)] = 0.3
    """Learning rate at batch 256: LR = base_lr × batch_size / 256."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 1e-6
    trust_coefficient: Annotated[float, Field(gt=0)] = 0.001
    """LARS η."""
    warmup_epochs: Annotated[float, Field(ge=0)] = 10.0
    final_lr_factor: Annotated[float, Field(ge=0, le=1)] = 0.001
    """The cosine ends at this share of the peak learning rate."""

    # Numerics
    precision: Precision = "auto"
    """`auto`: bf16 where the device multiplies it, fp32 elsewhere (`vicreg_fast.training.precision`)."""
    channels_last: bool = True
    compile: bool = False
    capture: Literal["auto", "on", "off"] = "auto"
    """The step in one CUDA graph: `auto` where it is possible, `on` or not at all."""

    # The run
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    log_every_steps: PositiveInt = 10
    checkpoint_every_steps: Annotated[int, Field(ge=0)] = 0
    """Also write a checkpoint every so many steps; 0 writes none but at the end of each epoch."""
    checkpoint_every_minutes: Annotated[float, Field(ge=0)] = 0.0
    """Also write one when so many minutes passed since the last; 0 for none."""
    keep_checkpoints: PositiveInt = 1
    """How many of the last checkpoints stay; the best stays beside them where it is more than one."""
    collapse_patience: Annotated[int, Field(ge=0)] = 5
    """The run ends when so many logged steps one after the other show collapsed embeddings; 0 never does."""

    # Linear evaluation of the finished run
    probe_size: Annotated[int, Field(ge=0)] = 0
    """Side, in pixels, of the images a probe sees; 0 takes `image_size`."""

    @field_validator("expander")
    @classmethod
    def _expander_is_widths(cls, value: str) -> str:
        parts = value.split("-")
        if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
            raise ValueError("must be layer widths joined by '-', such as 8192-8192-8192")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.stem == "imagenet" and self.image_size < 32:
            raise ValueError("image_size below 32 needs stem = 'cifar'")
        if self.batch_size % self.accumulate or self.batch_size // self.accumulate < 2:
            raise ValueError(
                f"accumulate = {self.accumulate} does not divide batch_size = {self.batch_size} into "
                "micro-batches of two images or more"
            )
        return self

    @property
    def expander_widths(self) -> tuple[int, ...]:
        return tuple(int(width) for width in self.expander.split("-"))

    @property
    def peak_lr(self) -> float:
        return self.base_lr * self.batch_size / 256

    def replace(self, /, **changes: Any) -> "Recipe":
        """A copy with `changes`, validated. Raises UsageError as `load_recipe` does."""
        return _validated({**self.model_dump(), **changes}, where="recipe")

    def to_toml(self) -> str:
        return tomli_w.dumps(self.model_dump())

    def fingerprint(self) -> str:
        """12 hex digits that are equal for equal recipes, whatever their names."""
        content = self.model_dump(exclude={"name"})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


# A resumed run may differ from its checkpoint in these only: they change what is seen or how fast, not what
# is trained. The pipeline is among them because "auto" names none: the trainer compares the real ones.
FREE_ON_RESUME = frozenset(
    {
        "name",
        "workers",
        "pipeline",
        "decoder_cache",
        "capture",
        "parallel_views",
        "keep_memory",
        "log_every_steps",
        "checkpoint_every_steps",
        "checkpoint_every_minutes",
        "keep_checkpoints",
        "collapse_patience",
        "probe_size",
    }
)


def recipe_names() -> list[str]:
    """Names of the recipes that ship."""
    folder = resources.files("vicreg_fast") / "recipes"
    return sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_recipe(name_or_file: str, settings: Iterable[str] = ()) -> Recipe:
    """The recipe of that name or TOML file, with `key=value` settings applied.

    Raises UsageError when there is no such recipe, or a key or a value is not valid.
    """
    path = Path(name_or_file)
    if path.suffix == ".toml" or _is_file(path):
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"recipe {name_or_file}: cannot be read ({_reason(error)})") from error
        fields: dict[str, Any] = {"name": path.stem, **_parsed(text, name_or_file)}
        where = name_or_file
    else:
        names = recipe_names()
        if name_or_file not in names:
            hint = _nearest(name_or_file, names)
            raise UsageError(f"recipe {name_or_file!r}: no such recipe{hint}; there are {', '.join(names)}")
        source = resources.files("vicreg_fast") / "recipes" / f"{name_or_file}.toml"
        fields = {"name": name_or_file, **_parsed(source.read_text(encoding="utf-8"), name_or_file)}
        where = f"recipe {name_or_file}"
    overrides = dict(_parse_setting(setting) for setting in settings)
    return _validated({**fields, **overrides}, where=where, overridden=overrides.keys())


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name longer than any file's
        return False


def _parsed(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is no TOMLDecodeError
        raise UsageError(f"{where}: is not valid TOML ({error})") from error


def _parse_setting(setting: str) -> tuple[str, Any]:
    key, equals, text = setting.partition("=")
    key = key.strip()
    if not equals or not key:
        raise UsageError(f"--set {setting}: must be key=value")
    if key not in Recipe.model_fields:
        raise UsageError(f"--set {setting}: no key {key!r}{_nearest(key, Recipe.model_fields)}")
    if Recipe.model_fields[key].annotation in (str,):
        return key, text.strip()
    try:
        value = tomllib.loads(f"v = {text.strip()}")["v"]
    except (ValueError, RecursionError):
        value = text.strip()  # a bare word: a name such as `lars`
    return key, value


def _validated(fields: Mapping[str, Any], *, where: str, overridden: Collection[str] = ()) -> Recipe:
    fields = {key: _as_float(value) if key in _FLOATS else value for key, value in fields.items()}
    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        if key in overridden:
            where = "--set"
        if first["type"] == "extra_forbidden":
            message = f"no key {key!r}{_nearest(key, Recipe.model_fields)}"
        elif not key:  # two keys that do not go together: the reason names both
            message = reason
        else:
            message = f"{key} = {_shortened(fields.get(key))}: {reason}"
            if first["type"] == "literal_error":
                choices = [
                    part.strip(" '") for part in first["ctx"]["expected"].replace(" or ", ", ").split(",")
                ]
                message += _nearest(str(fields.get(key)), choices)
        raise UsageError(f"{where}: {message}") from error


_FLOATS = frozenset(key for key, field in Recipe.model_fields.items() if field.annotation is float)


def _as_float(value: Any) -> Any:
    """TOML and people write `3` for 3.0; strict validation would refuse it."""
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _nearest(word: str, choices: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else "it is not UTF-8 text"
