"""The built-in data set: labelled, photo-like JPEGs, drawn deterministically, of any count and size.

An image's class is the texture on its one object, and where the texture does not hide the outline its shape
(3 textures × 2 shapes + 2 = 8 classes). Everything else is nuisance and drawn at random: position, scale,
rotation, both colours of the texture, its scale and direction, the background and its clutter, the light, the
noise. Colours are muted, as those of photographs are. So pixels say little about the class, and a
representation that ignores colour and position (which is what two augmented views teach) says much. Image `i`
of a split depends on (seed, split, i) and the size alone.
"""

import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipelines.manifest_cache import cache_folder
from vicreg_fast.errors import DataError

SHAPES = ("disc", "star")
TEXTURES = ("plain", "striped", "checked", "dotted", "ringed")
OUTLINED = ("plain", "striped", "ringed")
"""Textures whose shapes are classes. Checks and dots hide an outline at 32 pixels: short runs learnt to tell
the shape there or did not, by chance."""
CLASSES = tuple(
    name
    for texture in TEXTURES
    for name in ([f"{texture}-{s}" for s in SHAPES] if texture in OUTLINED else [texture])
)
TIPS = 8
"""Of the star: so many that a crop which shows some of its outline shows one."""
JPEG_QUALITY = 90
MOST_SIDE = 8192
"""Pixels of the longer side."""
VERSION = 2
"""Raised when the drawing changes, so that a cached set of an older drawing is not taken for this one."""

Array = npt.NDArray[np.float32]


def draw(label: int, rng: np.random.Generator, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """One image of class `label`, (H, W, 3) uint8, for `size` = (W, H) in pixels."""
    width, height = size
    unit = min(width, height)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = (x - width / 2) / unit, (y - height / 2) / unit  # the short side spans [-0.5, 0.5]

    image = _background(x, y, rng)
    texture, _, shape = CLASSES[label].partition("-")
    shape = shape or SHAPES[rng.integers(len(SHAPES))]
    radius = rng.uniform(0.3, 0.42)
    room_x, room_y = max(width / unit / 2 - radius, 0), max(height / unit / 2 - radius, 0)
    u, v = x - rng.uniform(-room_x, room_x), y - rng.uniform(-room_y, room_y)
    u, v = _rotated(u, v, rng.uniform(0, 2 * math.pi))
    distance = _signed_distance(shape, u / radius, v / radius) * radius
    inside = np.clip(0.5 - distance * unit, 0, 1)[..., None]  # one pixel of anti-aliasing
    shadow = np.clip(1 - np.abs(distance) / 0.05, 0, 1)[..., None] * (1 - inside)
    image = image * (1 - rng.uniform(0.1, 0.5) * shadow)
    image = image * (1 - inside) + _texture(texture, u, v, rng) * inside

    light = 1 + rng.uniform(0, 0.5) * _rotated(x, y, rng.uniform(0, 2 * math.pi))[0]
    image = image * light[..., None] * rng.uniform(0.7, 1.15)
    image = image + rng.normal(0, rng.uniform(0.01, 0.04), image.shape)
    return np.asarray(np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def _background(x: Array, y: Array, rng: np.random.Generator) -> Array:
    """A gradient between two colours with waves and a few soft patches."""
    first, second = _colour(rng, rng.uniform(0.15, 0.85)), _colour(rng, rng.uniform(0.15, 0.85))
    along = np.clip(_rotated(x, y, rng.uniform(0, 2 * math.pi))[0] + 0.5, 0, 1)
    for _ in range(3):
        frequency, phase = rng.uniform(2, 9), rng.uniform(0, 2 * math.pi)
        along = along + 0.1 * np.sin(frequency * _rotated(x, y, rng.uniform(0, 2 * math.pi))[0] + phase)
    image = first + (second - first) * along[..., None]
    for _ in range(rng.integers(1, 4)):
        patch = np.exp(
            -((x - rng.uniform(-0.6, 0.6)) ** 2 + (y - rng.uniform(-0.6, 0.6)) ** 2)
            / rng.uniform(0.005, 0.05)
        )
        image = image + (_colour(rng, rng.uniform(0.1, 0.9)) - image) * (0.6 * patch)[..., None]
    return np.asarray(image, dtype=np.float32)


def _colour(rng: np.random.Generator, lightness: float) -> npt.NDArray[np.float64]:
    """RGB in [0, 1]: a grey with a muted tint."""
    return np.clip(lightness + rng.normal(0, 0.08, 3), 0, 1)


def _texture(texture: str, u: Array, v: Array, rng: np.random.Generator) -> Array:
    """Two colours of clearly different lightness, in a pattern in the object's own frame."""
    dark = rng.uniform(0.05, 0.45)
    colours = [_colour(rng, dark), _colour(rng, min(dark + rng.uniform(0.35, 0.6), 1.0))]
    if rng.random() < 0.5:
        colours.reverse()
    first, second = colours
    wave = rng.uniform(30, 45)
    s, t = _rotated(u, v, rng.uniform(0, math.pi))
    phase_s, phase_t = rng.uniform(0, 2 * math.pi, 2)
    if texture == "plain":
        pattern = np.full_like(s, -1.0)
    elif texture == "striped":
        pattern = np.sin(wave * s + phase_s)
    elif texture == "checked":
        pattern = np.sin(wave * s + phase_s) * np.sin(wave * t + phase_t)
    elif texture == "dotted":
        pattern = np.cos(wave * s + phase_s) + np.cos(wave * t + phase_t) - 1.0
    else:
        pattern = np.sin(wave * np.hypot(s, t) + phase_s)
    share = np.clip(0.5 + 3 * pattern, 0, 1)[..., None]
    return np.asarray(first + (second - first) * share, dtype=np.float32)


def _rotated(x: Array, y: Array, angle: float) -> tuple[Array, Array]:
    c, s = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    return c * x + s * y, c * y - s * x


def _signed_distance(shape: str, u: Array, v: Array) -> Array:
    """Distance to the outline of a shape of about unit radius, negative inside; near enough to a true one for
    an edge."""
    if shape == "disc":
        return np.hypot(u, v) - np.float32(0.85)
    angle = np.arctan2(v, u)
    # 0 at a tip of the star, 1 between two
    folded = np.abs((angle / (2 * math.pi / TIPS) + 0.5) % 1 - 0.5) * 2
    return np.asarray(np.hypot(u, v) - (1.1 - 0.5 * folded), dtype=np.float32)


def make_builtin_set(
    root: Path,
    *,
    train: int,
    test: int,
    size: tuple[int, int] = (64, 64),
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Writes the set as `root/train/CLASS/*.jpg` and `root/test/CLASS/*.jpg`, and returns `root`.

    `size` is (width, height) in pixels; classes take turns, so any count is balanced to within one. A
    finished set of the same parameters is kept. The set is drawn beside `root` and moved there when whole, so
    a cut call leaves no half set. Raises DataError when `root` holds anything else, a parameter is out of
    range or the disk does not take it.
    """
    if train < 0 or test < 0 or train + test == 0:
        raise DataError(f"the built-in set: {train} train and {test} test images; ask for at least one")
    if seed < 0:
        raise DataError(f"the built-in set: seed {seed}; use 0 or more")
    if max(size) > MOST_SIDE:
        raise DataError(
            f"the built-in set: size {size[0]}×{size[1]} is too large; use at most {MOST_SIDE}×{MOST_SIDE}"
        )
    if min(size) < 16:
        raise DataError(
            f"the built-in set: size {size[0]}×{size[1]} is too small to draw on; use at least 16×16"
        )
    parameters: dict[str, object] = {
        "version": VERSION,
        "train": train,
        "test": test,
        "size": list(size),
        "seed": seed,
    }
    try:
        if _is_set(root, parameters):
            return root
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise DataError(f"{root}: is there already and is another set; name a new folder")
        root.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    except OSError as error:
        raise DataError(f"{root}: cannot be written ({error.strerror})") from error
    try:
        _draw_all(scratch, {"train": train, "test": test}, size, seed, progress)
        (scratch / "set.json").write_text(json.dumps(parameters), encoding="utf-8")
        scratch.chmod(0o755)
        if root.exists():
            root.rmdir()
        scratch.rename(root)
    except OSError as error:
        if _is_set(root, parameters):  # another process drew the same set meanwhile
            return root
        raise DataError(f"{root}: cannot be written ({error.strerror})") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return root


def _is_set(root: Path, parameters: dict[str, object]) -> bool:
    file = root / "set.json"
    try:
        return file.is_file() and json.loads(file.read_text(encoding="utf-8")) == parameters
    except ValueError:  # a file of that name which is not ours
        return False


def _draw_all(
    root: Path,
    counts: dict[str, int],
    size: tuple[int, int],
    seed: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    jobs = [(split, index) for split, count in counts.items() for index in range(count)]
    for split, count in counts.items():
        for name in CLASSES if count else ():
            (root / split / name).mkdir(parents=True)

    def write(job: tuple[str, int]) -> None:
        split, index = job
        label = index % len(CLASSES)
        rng = np.random.default_rng([seed, int(split == "test"), index])
        image = Image.fromarray(draw(label, rng, size))
        image.save(root / split / CLASSES[label] / f"{index:06d}.jpg", quality=JPEG_QUALITY)

    with ThreadPoolExecutor(max_workers=min(16, os.cpu_count() or 1)) as pool:
        try:
            for done, _ in enumerate(pool.map(write, jobs), start=1):
                if progress is not None:
                    progress(done, len(jobs))
        except BaseException:
            pool.shutdown(cancel_futures=True)  # else a stop would wait until the whole set is drawn
            raise


def builtin_set(
    *,
    train: int,
    test: int,
    size: tuple[int, int] = (64, 64),
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """The set with these parameters in the user's cache, drawn there on first use."""
    name = f"builtin-v{VERSION}-{train}-{test}-{size[0]}x{size[1]}-seed{seed}"
    return make_builtin_set(
        cache_folder() / name, train=train, test=test, size=size, seed=seed, progress=progress
    )
