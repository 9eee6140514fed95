"""One view of one image, whole, compiled by Numba, and as DALI's threads call it.

Numba's cache on the disk knows the file of the function that it compiles, and not the files of what that
calls. What is here calls into the other kernels, so each function refers to a digest of all their sources:
a variable of an enclosing function is part of the cache's key.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numba import carray, cfunc, njit, types
from numba.extending import intrinsic

from pipelines import colour_kernel, resize_kernel, view_parameters
from pipelines.colour_kernel import blur, brightness, contrast, gray, hue, saturation, solarize
from pipelines.resize_kernel import resized_crop
from pipelines.view_parameters import PARAMETERS, Column

_FACTORS, _ORDER = int(Column.FACTORS), int(Column.ORDER)
_TOP, _LEFT, _HEIGHT, _WIDTH = int(Column.TOP), int(Column.LEFT), int(Column.HEIGHT), int(Column.WIDTH)
_FLIP, _JITTER, _GRAY = int(Column.FLIP), int(Column.JITTER), int(Column.GRAY)
_SIGMA, _SOLARIZE = int(Column.SIGMA), int(Column.SOLARIZE)


def _digest(*modules: Any) -> str:
    """Of the files that these modules were read from."""
    return hashlib.sha256(b"".join(Path(module.__file__).read_bytes() for module in modules)).hexdigest()


def _as_pointer(_context: Any, address: Any) -> Any:
    """An address, as Numba's carray takes it."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.voidptr(address), code


_pointer: Any = intrinsic(_as_pointer)


@njit(cache=True)
def _tensor_shape(shapes: int, tensor: int, sample: int, samples: int, dimensions: int) -> Any:
    """Of DALI's array of (tensors, samples) pointers to shapes."""
    places = carray(_pointer(shapes), ((tensor + 1) * samples,), np.uint64)
    return carray(_pointer(places[tensor * samples + sample]), (dimensions,), np.int64)


_SETUP = types.void(
    types.uint64, types.uint64, types.int32, types.uint64, types.uint64, types.int32, types.int32
)
_RUN = types.void(
    types.uint64,
    types.uint64,
    types.uint64,
    types.int32,
    types.uint64,
    types.uint64,
    types.uint64,
    types.int32,
)


@cfunc(_SETUP, cache=True)
def dali_setup(
    out_shapes: int, _out_dims: int, _outs: int, in_shapes: int, _in_dims: int, _ins: int, samples: int
) -> None:
    """Gives each output the shape (S, S, 3), where input 0 has the shape (S,). Called once a batch."""
    for sample in range(samples):
        size = _tensor_shape(in_shapes, 0, sample, samples, 1)[0]
        shape = _tensor_shape(out_shapes, 0, sample, samples, 3)
        shape[0], shape[1], shape[2] = size, size, 3


def _view(sources: str) -> Any:
    @njit(cache=True)
    def view(out_SS3: Any, image_HW3: Any, parameters: Any) -> None:
        """Fills `out_SS3`, (S, S, 3) uint8, with the view of `image_HW3`, (H, W, 3) uint8, that `parameters`,
        (PARAMETERS,) float64, describe (see Column). All are C-contiguous, and the crop lies within the
        image: neither is checked."""
        _ = sources
        resized_crop(
            out_SS3,
            image_HW3,
            int(parameters[_TOP]),
            int(parameters[_LEFT]),
            int(parameters[_HEIGHT]),
            int(parameters[_WIDTH]),
            parameters[_FLIP] != 0,
        )
        if parameters[_JITTER] != 0:
            for place in range(4):
                operation = int(parameters[_ORDER + place])
                factor = parameters[_FACTORS + max(operation, 0)]
                # the order of spec.JITTER_NAMES; NO_OPERATION is none of them
                if operation == 0:
                    brightness(out_SS3, factor)
                elif operation == 1:
                    contrast(out_SS3, factor)
                elif operation == 2:
                    saturation(out_SS3, factor)
                elif operation == 3:
                    hue(out_SS3, factor)
        if parameters[_GRAY] != 0:
            gray(out_SS3)
        if parameters[_SIGMA] > 0:
            blur(out_SS3, parameters[_SIGMA])
        if parameters[_SOLARIZE] != 0:
            solarize(out_SS3)

    return view


def _dali_run(sources: str) -> Any:
    @cfunc(_RUN, cache=True)
    def dali_run(
        outs: int,
        out_shapes: int,
        _out_dims: int,
        _outs: int,
        ins: int,
        in_shapes: int,
        _in_dims: int,
        _ins: int,
    ) -> None:
        """`view` of one sample. Inputs: uint8 (S,), of which only the shape counts; the image, uint8
        (H, W, 3); the parameters, float64 (PARAMETERS,)."""
        _ = sources
        places = carray(_pointer(ins), (3,), np.uint64)
        shape = _tensor_shape(in_shapes, 1, 0, 1, 3)
        image = carray(_pointer(places[1]), (shape[0], shape[1], shape[2]), np.uint8)
        parameters = carray(_pointer(places[2]), (PARAMETERS,), np.float64)
        size = _tensor_shape(out_shapes, 0, 0, 1, 3)[0]
        out = carray(_pointer(carray(_pointer(outs), (1,), np.uint64)[0]), (size, size, 3), np.uint8)
        view(out, image, parameters)

    return dali_run


_SOURCES = _digest(resize_kernel, colour_kernel, view_parameters)
view = _view(_SOURCES)
dali_run = _dali_run(_SOURCES)
