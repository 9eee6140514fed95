"""One view as DALI operators: on a CPU one kernel of our own, on a GPU some ten.

It imports DALI: import it inside functions.

Colour on a GPU. Brightness, contrast around the grey mean, and saturation keep or scale the luma alike, so as
linear maps they commute: torchvision's random order of them differs only by where it clips and rounds. So the
jitter is two operators and not four, a tone (brightness and contrast) and a colour (saturation and hue, one
3×3 matrix), in either order, as the drawn order begins. Hue here is the rotation about the grey axis
r = g = b, linear in RGB; torchvision turns the hue of HSV, which no 3×3 matrix can. DALI's own hue rotates in
YIQ, which is further from HSV's: further, on photographs, than not turning the hue at all
(docs/PIPELINES.md).
"""

from dataclasses import dataclass

import numpy as np

from pipelines.dali_modules import Node, constant, dali_math, fn, types
from pipelines.spec import ViewSpec
from pipelines.view_parameters import Column

LUMA = (0.299, 0.587, 0.114)
"""ITU-R 601-2, as Pillow's conversion to L."""
_DESATURATE = np.array([LUMA, LUMA, LUMA], dtype=np.float32)
_IDENTITY = np.eye(3, dtype=np.float32)
_AXIS = np.full((3, 3), 1 / 3, dtype=np.float32)
_TURN = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], dtype=np.float32) / np.float32(np.sqrt(3))
"""Cross product with the unit vector of the grey axis (Rodrigues' formula)."""


@dataclass(frozen=True, kw_only=True)
class ViewNodes:
    """A vector's places as nodes; a plain bool stands for what is the same for every sample."""

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
    solarize: Node | bool


def view_nodes(vector: Node, spec: ViewSpec) -> ViewNodes:
    """The places of a vector of `pipelines.view_parameters`, on the CPU. What `spec` never does leaves no
    operator in the graph."""

    def number(column: int) -> Node:
        return fn.cast(vector[column], dtype=types.FLOAT)

    def happens(column: int, probability: float) -> Node | bool:
        return probability == 1.0 if probability in (0.0, 1.0) else vector[column] > 0.5

    top, left, height, width = (number(Column.TOP + place) for place in range(4))
    flip = number(Column.FLIP)
    brightness, contrast, saturation, hue = (number(Column.FACTORS + place) for place in range(4))
    return ViewNodes(
        # flipped, the horizontal range begins at its other end
        roi_start=fn.stack(top, left + width * flip),
        roi_end=fn.stack(top + height, left + width * (1.0 - flip)),
        jitter=happens(Column.JITTER, spec.jitter),
        colour_first=vector[Column.ORDER] > 1.5,
        brightness=brightness,
        contrast=contrast,
        saturation=saturation,
        hue=hue,
        gray=happens(Column.GRAY, spec.gray),
        blur=vector[Column.SIGMA] > 0.0 if 0.0 < spec.blur < 1.0 else spec.blur == 1.0,
        sigma=number(Column.SIGMA),
        solarize=happens(Column.SOLARIZE, spec.solarize),
    )


def render_view(image: Node, vector: Node, spec: ViewSpec, image_size: int, on_gpu: bool) -> Node:
    """(S, S, 3) uint8 of a decoded RGB image (H, W, 3), by a vector of `pipelines.view_parameters` that
    `spec` allows. On a GPU it needs a pipeline with enable_conditionals.
    """
    if not on_gpu:
        # not at the top: only a CPU needs Numba
        from pipelines.dali_view_kernel import view_on_cpu

        return view_on_cpu(image, vector, image_size)
    nodes = view_nodes(vector, spec)
    # Reads a pixel or two beyond the crop, where Pillow stops at the crop's edge.
    view = fn.resize(
        image,
        roi_start=nodes.roi_start,
        roi_end=nodes.roi_end,
        size=[image_size, image_size],
        interp_type=types.INTERP_CUBIC,
        antialias=True,
    )
    if nodes.jitter:
        if nodes.colour_first:  # noqa: SIM108 - DALI's conditionals are statements
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


def _luma(view: Node) -> Node:
    return fn.color_space_conversion(view, image_type=types.RGB, output_type=types.GRAY)
