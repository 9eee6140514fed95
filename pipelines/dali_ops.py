"""One view as DALI operators: the same functions build the random pipeline and the one on fixed parameters.

It imports DALI: import it inside functions.

On a CPU a view is one operator, compiled (`pipelines.view_kernel`), and this is about a GPU.

Colour. Brightness, contrast around the grey mean, and saturation keep or scale the luma alike, so as linear
maps they commute: torchvision's random order of them differs only by where it clips and rounds. So the jitter
is two operators and not four, a tone (brightness and contrast) and a colour (saturation and hue, one 3×3
matrix), in either order. Hue here is the rotation about the grey axis r = g = b, linear in RGB; torchvision
turns the hue of HSV, which no 3×3 matrix can. DALI's own hue rotates in YIQ, which is further from HSV's:
further, on photographs, than not turning the hue at all (docs/PIPELINES.md).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.dali_modules import Node, constant, dali_math, fn, types
from pipelines.spec import ViewParameters, ViewSpec

LUMA = (0.299, 0.587, 0.114)
"""ITU-R 601-2, as Pillow's conversion to L."""
_DESATURATE = np.array([LUMA, LUMA, LUMA], dtype=np.float32)
_IDENTITY = np.eye(3, dtype=np.float32)
_AXIS = np.full((3, 3), 1 / 3, dtype=np.float32)
_TURN = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], dtype=np.float32) / np.float32(np.sqrt(3))
"""Cross product with the unit vector of the grey axis (Rodrigues' formula)."""


@dataclass(frozen=True, kw_only=True)
class ViewNodes:
    """ViewParameters as nodes; a plain bool stands for what is the same for every sample."""

    roi_start: Node
    """Float (2,): top and left of the crop."""
    roi_end: Node
    """Float (2,): bottom and right; a flipped crop has left and right exchanged."""
    jitter: Node | bool
    colour_first: Node
    brightness: Node
    contrast: Node
    saturation: Node
    hue: Node
    """Turns."""
    gray: Node | bool
    blur: Node | bool
    sigma: Node
    sigma_most: float
    """No sample's sigma is larger."""
    solarize: Node | bool


def random_nodes(spec: ViewSpec, shape: Node) -> ViewNodes:
    """The parameters drawn by DALI. `shape` is the (H, W, C) of the decoded image, on the CPU."""
    start, extent = fn.random_crop_generator(
        shape, random_area=list(spec.crop_area), random_aspect_ratio=list(spec.crop_ratio)
    )
    top_left = fn.cast(start, dtype=types.FLOAT)
    bottom_right = fn.cast(start + extent, dtype=types.FLOAT)
    mirrored = fn.cast(fn.random.coin_flip(probability=spec.flip), dtype=types.FLOAT) * constant(
        np.array([0, 1])
    )
    # flipped where `mirrored` is 1: the other end of the horizontal range
    swing = (bottom_right - top_left) * mirrored
    return ViewNodes(
        roi_start=top_left + swing,
        roi_end=bottom_right - swing,
        jitter=_happens(spec.jitter),
        colour_first=_happens(0.5),
        brightness=_around_one(spec.brightness),
        contrast=_around_one(spec.contrast),
        saturation=_around_one(spec.saturation),
        hue=fn.random.uniform(range=[-spec.hue, spec.hue]),
        gray=_happens(spec.gray),
        blur=_happens(spec.blur),
        sigma=fn.random.uniform(range=list(spec.sigma)),
        sigma_most=spec.sigma[1],
        solarize=_happens(spec.solarize),
    )


def fixed_nodes(parameters: list[ViewParameters]) -> ViewNodes:
    """Those parameters, one a sample, in one batch."""

    def feed(values: list[Any], dtype: Any) -> Node:
        arrays = [np.asarray(value, dtype=dtype) for value in values]
        return fn.external_source(source=lambda: arrays, batch=True)

    boxes = [_box(each) for each in parameters]
    factors = [dict(each.jitter or ()) for each in parameters]
    sigmas = [each.sigma or 1.0 for each in parameters]
    return ViewNodes(
        roi_start=feed([start for start, _ in boxes], np.float32),
        roi_end=feed([end for _, end in boxes], np.float32),
        jitter=feed([each.jitter is not None for each in parameters], np.bool_),
        colour_first=feed([_colour_first(each) for each in parameters], np.bool_),
        brightness=feed([each.get("brightness", 1.0) for each in factors], np.float32),
        contrast=feed([each.get("contrast", 1.0) for each in factors], np.float32),
        saturation=feed([each.get("saturation", 1.0) for each in factors], np.float32),
        hue=feed([each.get("hue", 0.0) for each in factors], np.float32),
        gray=feed([each.gray for each in parameters], np.bool_),
        blur=feed([each.sigma is not None for each in parameters], np.bool_),
        sigma=feed(sigmas, np.float32),
        sigma_most=max(sigmas),
        solarize=feed([each.solarize for each in parameters], np.bool_),
    )


def render_view(image: Node, nodes: ViewNodes, image_size: int, on_gpu: bool) -> Node:
    """(S, S, 3) uint8 of a decoded RGB image (H, W, 3). Needs a pipeline with enable_conditionals.

    On a CPU all is one operator. On a GPU crop, flip and resize are one, which reads a pixel or two beyond
    the crop, where Pillow stops at the crop's edge.
    """
    if not on_gpu:
        # not at the top: only a CPU needs Numba
        from pipelines.dali_view_kernel import view_on_cpu

        return view_on_cpu(image, _vector(nodes), image_size)
    view = fn.resize(
        image,
        roi_start=nodes.roi_start,
        roi_end=nodes.roi_end,
        size=[image_size, image_size],
        interp_type=types.INTERP_CUBIC,
        antialias=True,
    )
    if nodes.jitter:
        if nodes.colour_first:  # noqa: SIM108 -- DALI makes branches of statements
            view = tone(colour(view, nodes), nodes)
        else:
            view = colour(tone(view, nodes), nodes)
    if nodes.gray:
        view = fn.color_space_conversion(_luma(view), image_type=types.GRAY, output_type=types.RGB)
    if nodes.blur:
        view = gaussian_blurred(view, nodes.sigma)
    if nodes.solarize:
        # min(x, 255 − x); on bytes, the complement is an exclusive or, and far cheaper than a subtraction in
        # int32
        view = dali_math.min(view, view ^ types.Constant(255, dtype=types.UINT8))
    return view


def tone(view: Node, nodes: ViewNodes) -> Node:
    """Brightness and contrast: b·(m + c·(x − m)), m the mean luma."""
    mean = fn.reductions.mean(_luma(view), axes=[0, 1, 2])
    # an operator's arguments live on the CPU, and fetching the mean would stall the device
    gain, offset = nodes.brightness * nodes.contrast, nodes.brightness * (1.0 - nodes.contrast)
    return fn.cast(view * gain.gpu() + mean * offset.gpu(), dtype=types.UINT8)


def colour(view: Node, nodes: ViewNodes) -> Node:
    """Saturation, then hue, as one matrix."""
    angle = nodes.hue * (2 * np.pi)
    cosine, sine = dali_math.cos(angle), dali_math.sin(angle)
    hue = constant(_IDENTITY - _AXIS) * cosine + constant(_TURN) * sine + constant(_AXIS)
    # hue · (s·I + (1 − s)·luma), and turning the hue of a grey changes nothing
    matrix = hue * nodes.saturation + constant(_DESATURATE) * (1.0 - nodes.saturation)
    return fn.coord_transform(view, M=matrix, dtype=types.UINT8)


def gaussian_blurred(view: Node, sigma: Node) -> Node:
    """Gaussian blur over the window that Pillow's has: three box filters of the same variance in all,
    which together reach 1.5·(√(4σ² + 1) − 1) pixels. DALI's own window reaches 3σ and costs a fifth more
    for the same agreement."""
    radius = dali_math.ceil(1.5 * (dali_math.sqrt(4.0 * sigma * sigma + 1.0) - 1.0))
    return fn.gaussian_blur(view, sigma=sigma, window_size=fn.cast(2.0 * radius + 1.0, dtype=types.INT32))


def _vector(nodes: ViewNodes) -> Node:
    """The parameters as the kernel takes them: see `pipelines.view_parameters.Column`."""
    y, x = ([nodes.roi_start[axis], nodes.roi_end[axis]] for axis in (0, 1))
    left = dali_math.min(*x)
    later = fn.cast(nodes.colour_first, dtype=types.FLOAT) * 2.0
    numbers = [
        *(y[0], left, y[1] - y[0], dali_math.max(*x) - left, x[1] < x[0], nodes.jitter),
        *(later, later + 1.0, 2.0 - later, 3.0 - later),
        *(nodes.brightness, nodes.contrast, nodes.saturation, nodes.hue),
        *(nodes.gray, fn.cast(nodes.blur, dtype=types.FLOAT) * nodes.sigma, nodes.solarize),
    ]
    return fn.stack(*(fn.cast(number, dtype=types.FLOAT64) for number in numbers))


def _luma(view: Node) -> Node:
    return fn.color_space_conversion(view, image_type=types.RGB, output_type=types.GRAY)


def _happens(probability: float) -> Node | bool:
    if probability in (0.0, 1.0):
        return probability == 1.0
    return fn.random.coin_flip(probability=probability, dtype=types.BOOL)


def _around_one(reach: float) -> Node:
    return fn.random.uniform(range=[1 - reach, 1 + reach])


def _box(parameters: ViewParameters) -> tuple[tuple[int, int], tuple[int, int]]:
    top, left, height, width = parameters.crop
    near, far = left, left + width
    if parameters.flip:
        near, far = far, near
    return (top, near), (top + height, far)


def _colour_first(parameters: ViewParameters) -> bool:
    """Whether saturation and hue come, on the whole, before brightness and contrast."""
    places = {name: place for place, (name, _) in enumerate(parameters.jitter or ())}
    colour_places = places.get("saturation", 0) + places.get("hue", 0)
    return colour_places < places.get("brightness", 0) + places.get("contrast", 0)
