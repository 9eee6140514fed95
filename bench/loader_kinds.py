"""The loaders that `bench loader` knows: pipelines, and the decoders each can have. Imports no torch."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.loader_record import LoaderSubject
from vicreg_fast.errors import UsageError

BASELINE = "torchvision-stock"
"""The authors' loader."""


@dataclass(frozen=True, kw_only=True)
class LoaderKind:
    """One pipeline. The first of its decoders that the device has is its usual one."""

    description: str
    decoders: tuple[str, ...]
    gpu_decoders: tuple[str, ...] = ()
    """In place of `decoders` where views are made on a GPU."""
    differs: tuple[str, ...] = ()


KINDS: dict[str, LoaderKind] = {
    BASELINE: LoaderKind(
        description="The authors' transforms, torchvision on Pillow images, to normalised float views",
        decoders=("pil", "pil-draft"),
    ),
    "torchvision": LoaderKind(
        description="Our torchvision pipeline: the same operations, bytes gathered without a second copy",
        decoders=("pil",),
    ),
    "torchvision-v2": LoaderKind(
        description="torchvision.transforms.v2 on byte tensors",
        decoders=("torchvision-io", "pil"),
        differs=("blur is one Gaussian kernel, reflected at the edge; Pillow's is three box filters",),
    ),
    "dali": LoaderKind(
        description="Our DALI pipeline",
        decoders=("dali-cpu", "dali-cpu-cache"),
        gpu_decoders=("dali-mixed", "dali-mixed-cache"),
    ),
}

DECODERS: dict[str, str] = {
    "pil": "Pillow",
    "pil-draft": "Pillow in draft mode: a JPEG comes at the least of 1, 1/2, 1/4, 1/8 of its size that is no "
    "smaller than a view, and a crop of it may then be enlarged",
    "torchvision-io": "torchvision.io.decode_image, and Pillow for what it does not read",
    "dali-cpu": "DALI on the processor",
    "dali-cpu-cache": "DALI on the processor, once: the whole set stays decoded in memory",
    "dali-mixed": "DALI on the GPU, with its JPEG hardware where there is one",
    "dali-mixed-cache": "DALI on the processor, once: the whole set stays decoded in memory",
}
GPU_DIFFERS = (
    "hue is a rotation about the grey axis; torchvision turns the hue of HSV",
    "jitter comes in two orders, of tone and colour, and not in 24",
    "blur is DALI's Gaussian, cut to Pillow's support",
)
"""Of DALI's pipeline on a GPU."""
KEPT_DECODED = frozenset({"dali-cpu-cache", "dali-mixed-cache"})
_GPU_DECODERS = frozenset(name for kind in KINDS.values() for name in kind.gpu_decoders)


def choose_loaders(
    pipelines: Sequence[str] | None,
    decoders: Sequence[str] | None,
    *,
    on_gpu: bool,
    dali_obstacle: str | None = None,
) -> tuple[LoaderSubject, ...]:
    """The loaders asked for, in the order of KINDS: each pipeline with its usual decoder, or with each of
    `decoders` that it can have.

    None for `pipelines` means all of them. `dali_obstacle` is why DALI cannot be used, in words: its loaders
    then have that obstacle. Raises UsageError for an unknown name, a decoder that no pipeline asked for can
    have, and DALI asked for by name that cannot be used.
    """
    for name in pipelines or ():
        if name not in KINDS:
            raise UsageError(f"--pipelines {name}: must be of {', '.join(KINDS)}")
    chosen = [name for name in KINDS if not pipelines or name in pipelines]
    for decoder in decoders or ():
        _require_decoder(decoder, chosen, on_gpu)
    if dali_obstacle is not None and pipelines and "dali" in pipelines:
        raise UsageError(dali_obstacle)
    return tuple(
        _subject(name, decoder, on_gpu, dali_obstacle if name == "dali" else None)
        for name in chosen
        for decoder in (
            _decoders(name, on_gpu)[:1]
            if decoders is None
            else [d for d in _decoders(name, on_gpu) if d in decoders]
        )
    )


def usual_subject(pipeline: str, *, on_gpu: bool) -> LoaderSubject:
    """A pipeline with its usual decoder; one that is not known here is described as that."""
    if pipeline not in KINDS:
        return LoaderSubject(name=pipeline, pipeline=pipeline, decoder="not recorded", description="")
    return _subject(pipeline, _decoders(pipeline, on_gpu)[0], on_gpu, None)


def _subject(pipeline: str, decoder: str, on_gpu: bool, obstacle: str | None) -> LoaderSubject:
    usual = decoder == _decoders(pipeline, on_gpu)[0]
    on_gpu_differs = GPU_DIFFERS if pipeline == "dali" and on_gpu else ()
    draft = ("small crops are enlarged from a smaller decode",) if decoder == "pil-draft" else ()
    return LoaderSubject(
        name=pipeline if usual else f"{pipeline}+{decoder}",
        pipeline=pipeline,
        decoder=decoder,
        description=f"{KINDS[pipeline].description}; decoded by {DECODERS[decoder]}",
        differs=(*KINDS[pipeline].differs, *on_gpu_differs, *draft),
        obstacle=obstacle,
    )


def _decoders(pipeline: str, on_gpu: bool) -> tuple[str, ...]:
    kind = KINDS[pipeline]
    return kind.gpu_decoders if on_gpu and kind.gpu_decoders else kind.decoders


def _require_decoder(decoder: str, pipelines: Sequence[str], on_gpu: bool) -> None:
    if decoder not in DECODERS:
        raise UsageError(f"--decoders {decoder}: must be of {', '.join(DECODERS)}")
    if decoder in _GPU_DECODERS and not on_gpu:
        raise UsageError(f"--decoders {decoder}: needs a CUDA device, and views are made on the processor")
    if not any(decoder in _decoders(name, on_gpu) for name in pipelines):
        found = dict.fromkeys(d for name in pipelines for d in _decoders(name, on_gpu))
        raise UsageError(
            f"--decoders {decoder}: none of {', '.join(pipelines)} can have it here; "
            f"they have {', '.join(found)}"
        )
