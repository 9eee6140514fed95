"""What the scaling model says, as a page, a picture and tables: a model everywhere, and said to be one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator

from bench.scaling_record import OFFICIAL, OURS, Checked, LossPrediction
from reports.figures import Picture
from reports.svg import canvas, scenario_colour, style, to_svg
from reports.tables import Table
from reports.text import NOTHING, amount, plural, times

COLOURS = {OFFICIAL: 0, OURS: 1}
PARTS = {
    "products": "products_seconds",
    "elementwise": "elementwise_seconds",
    "launches": "launch_seconds",
    "exchange": "exchange_seconds",
}
NO_MEASUREMENT = "No GPU measurement to check against: every time here is the model's alone."


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """Predictions of both losses at each world size, in order, and what was measured of them."""

    predictions: tuple[LossPrediction, ...]
    checked: tuple[Checked, ...] = ()
    measured_on: tuple[str, ...] = ()
    """The GPUs of the measurements."""
    command: str = "vicreg-fast bench scaling"
    problems: tuple[str, ...] = ()
    """One line for each thing in the records that could not be used."""

    def of(self, provider: str) -> tuple[LossPrediction, ...]:
        return tuple(p for p in self.predictions if p.provider == provider)

    @property
    def pairs(self) -> tuple[tuple[LossPrediction, LossPrediction], ...]:
        """Ours and the authors' at each world size."""
        return tuple(zip(self.of(OURS), self.of(OFFICIAL), strict=True))


def verdict_of(scaling: Scaling) -> str:
    """The first sentence: how many times as fast the model takes ours to be, and that it is a model."""
    ratios = {ours.world_size: official.seconds / ours.seconds for ours, official in scaling.pairs}
    first = scaling.pairs[0][0]
    least, most = min(ratios, key=ratios.__getitem__), max(ratios, key=ratios.__getitem__)
    where = f"n = {first.n} rows a rank, D = {first.d}, {first.dtype}, {first.rates['name']} rates"
    span = f"{times(ratios[least])} as fast as the authors' code on {plural(least, 'rank')}"
    if len(ratios) > 1:
        span = f"from {span} to {times(ratios[most])} on {plural(most, 'rank')}"
    claim = "faster at every world size" if ratios[least] > 1 else "not faster everywhere"
    return f"By a model, not a measurement, our loss is {claim}: {span} ({where})."


def caveats_of(scaling: Scaling) -> tuple[str, ...]:
    """What the numbers rest on."""
    found = [
        "The model adds up the products (a roofline), the passes over memory, the kernels' launches and the "
        "collectives of a ring; nothing overlaps, and no CUDA graph is assumed.",
        _rates_sentence(scaling.pairs[0][0]),
    ]
    widened = [ours for ours in scaling.of(OURS) if ours.backend == "torch" and ours.dtype.endswith("16")]
    if widened:
        found.append(
            f"On {_ranks(widened)} ours takes torch's products, which widen {widened[0].dtype} to float32. "
            "Triton's do not; they are chosen only once a record shows them faster on a GPU, and "
            "--backend triton predicts them wherever they can run."
        )
    for provider, name in ((OURS, "Ours"), (OFFICIAL, "The authors' code")):
        capacity = _rate(scaling.of(provider)[0], "capacity_gbytes")
        beyond = [p for p in scaling.of(provider) if p.peak_bytes > 1e9 * capacity]
        if beyond:
            most = max(p.peak_bytes for p in beyond) / 1e9
            found.append(
                f"{name} does not fit on {_ranks(beyond)}: the loss alone would hold up to {amount(most)} GB "
                f"of {amount(capacity)} GB."
            )
    larger = [ours for ours, official in scaling.pairs if ours.peak_bytes > official.peak_bytes]
    if larger:
        found.append(
            f"Ours is predicted to hold more memory at once than the authors' code on {_ranks(larger)}."
        )
    return (*found, *_checks(scaling), *scaling.problems)


def _rates_sentence(first: LossPrediction) -> str:
    tflops = ", ".join(
        f"{amount(_rate(first, f'{name}_tflops'))} in {name}"
        for name in dict.fromkeys((first.dtype, "tf32", "float32"))
    )
    return (
        f"Rates of {first.rates['name']}, taken as reached: TFLOP/s of products {tflops}; "
        f"{amount(_rate(first, 'memory_gbytes'))} GB/s of memory; "
        f"{amount(_rate(first, 'link_gbytes'))} GB/s and {amount(_rate(first, 'latency_us'))} µs a step of "
        f"the link, one link for all ranks; {amount(_rate(first, 'kernel_us'))} µs a kernel."
    )


def _rate(prediction: LossPrediction, name: str) -> float:
    return float(prediction.rates[name])


def _checks(scaling: Scaling) -> tuple[str, ...]:
    if not scaling.checked:
        return (NO_MEASUREMENT,)
    ratios = sorted(one.ratio for one in scaling.checked)
    on = ", ".join(dict.fromkeys(scaling.measured_on)) or "a GPU that the records do not name"
    return (
        f"Checked against {plural(len(ratios), 'measurement')} of one GPU ({on}): measured times are "
        f"{times(ratios[0])} to {times(ratios[-1])} the predicted ones.",
    )


def _ranks(predictions: Sequence[LossPrediction]) -> str:
    sizes = [p.world_size for p in predictions]
    return plural(sizes[0], "rank") if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,} ranks"


def scaling_table(scaling: Scaling) -> Table:
    """Work, bytes and time of one rank's step, ours beside the authors'."""
    rows = []
    for ours, official in scaling.pairs:
        both: tuple[Callable[[LossPrediction], float], ...] = (
            lambda p: p.flops / 1e9,
            lambda p: p.memory_bytes / 1e6,
            lambda p: p.exchange_bytes / 1e6,
            lambda p: p.seconds * 1e3,
        )
        cells = [_number(value(p)) for value in both for p in (ours, official)]
        how = ours.form if ours.exchange == "none" else f"{ours.form}, {ours.exchange}"
        ratio = times(official.seconds / ours.seconds)
        rows.append((f"{ours.world_size:,}", how, *cells, ratio))
    columns = (
        "ranks",
        "ours as",
        "GFLOP ours",
        "official",
        "MB moved ours",
        "official",
        "MB received ours",
        "official",
        "ms ours",
        "official",
        "as fast",
    )
    return Table(title="Predicted, a rank and step", columns=columns, rows=tuple(rows), names=2)


def parts_table(scaling: Scaling) -> Table:
    """Where the predicted time goes, its floor, and the memory held at once."""
    rows = []
    for pair in scaling.pairs:
        for p in pair:
            parts = (_number(1e3 * getattr(p, field)) for field in PARTS.values())
            rows.append(
                (
                    f"{p.world_size:,}",
                    f"{p.provider}, {p.backend}",
                    *parts,
                    NOTHING if p.floor_seconds is None else _number(1e3 * p.floor_seconds),
                    f"{p.kernels:,}",
                    _number(p.peak_bytes / 1e9),
                )
            )
    columns = ("ranks", "loss", *(f"{part} ms" for part in PARTS), "floor ms", "kernels", "peak GB")
    return Table(title="Where the predicted time goes", columns=columns, rows=tuple(rows), names=2)


def checked_table(scaling: Scaling) -> Table:
    """Each measurement beside its prediction."""
    rows = tuple(
        (
            f"{one.timing.n} × {one.timing.d}",
            one.timing.provider,
            one.timing.dtype,
            _number(1e3 * one.measured_seconds),
            _number(1e3 * one.predicted.seconds),
            times(one.ratio),
        )
        for one in scaling.checked
    )
    columns = ("N × D", "loss", "dtype", "measured ms", "predicted ms", "measured ÷ predicted")
    return Table(title="Measured on one GPU", columns=columns, rows=rows, names=3)


def _number(value: float) -> str:
    """Three digits, however small."""
    return amount(value) if value >= 100 or value == 0 else f"{value:#.3g}"


def scaling_tables(scaling: Scaling) -> tuple[Table, ...]:
    tables = (scaling_table(scaling), parts_table(scaling), checked_table(scaling))
    return tuple(table for table in tables if table.rows)


def scaling_pictures(scaling: Scaling) -> tuple[Picture, ...]:
    """Time against ranks, and the parts of ours."""
    return (_times_picture(scaling), _parts_picture(scaling))


def _times_picture(scaling: Scaling) -> Picture:
    lines = {name: [(p.world_size, 1e3 * p.seconds) for p in scaling.of(name)] for name in (OFFICIAL, OURS)}
    last = scaling.pairs[-1]
    title = f"On {plural(last[0].world_size, 'rank')}, {amount(1e3 * last[0].seconds)} ms for ours and "
    title += f"{amount(1e3 * last[1].seconds)} ms for the authors' code, by the model"
    caption = (
        "Predicted time of one step of the loss on each rank; both axes are logarithmic. Lower is faster."
    )
    return _line_picture("scaling-time", title, caption, lines, COLOURS)


def _parts_picture(scaling: Scaling) -> Picture:
    ours = scaling.of(OURS)
    lines = {
        part: [(p.world_size, 1e3 * getattr(p, field)) for p in ours if getattr(p, field) > 0]
        for part, field in PARTS.items()
    }
    lines = {part: points for part, points in lines.items() if points}
    last = ours[-1]
    largest = max(PARTS, key=lambda part: float(getattr(last, PARTS[part])))
    title = f"Most of our predicted time on {plural(last.world_size, 'rank')} is {largest}"
    caption = "Predicted parts of our step on each rank. They follow one another and add up to it."
    return _line_picture(
        "scaling-parts", title, caption, lines, {part: number + 2 for number, part in enumerate(PARTS)}
    )


def _line_picture(
    name: str,
    title: str,
    caption: str,
    lines: dict[str, list[tuple[int, float]]],
    colours: dict[str, int],
) -> Picture:
    alt = "Predicted milliseconds a step against ranks. " + "; ".join(
        f"{label}: {amount(points[0][1])} on {plural(points[0][0], 'rank')} to {amount(points[-1][1])} on "
        f"{plural(points[-1][0], 'rank')}"
        for label, points in lines.items()
    )
    with mpl.rc_context(style()):
        figure, (ax,) = canvas(310, [1])
        for label, points in lines.items():
            ax.plot(
                *zip(*points, strict=True),
                color=scenario_colour(colours[label]),
                lw=1.8,
                marker="o",
                ms=3.6,
                label=label,
            )
        _logarithmic(ax, sorted({size for points in lines.values() for size, _ in points}))
        ax.set_xlabel("ranks")
        ax.set_ylabel("ms a step, predicted")
        figure.legend(loc="outside upper left", ncols=4, frameon=False, handlelength=1.1, columnspacing=1.0)
        return Picture(
            name=name, title=title, caption=caption, alt=alt, svg=to_svg(figure, name=name, alt=alt)
        )


def _logarithmic(ax: Axes, sizes: Sequence[int]) -> None:
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    step = -(-len(sizes) // 7)  # more labels than this do not fit side by side
    ax.set_xticks(sizes[::step], [str(size) for size in sizes[::step]])
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_minor_locator(NullLocator())
    ax.grid(visible=True)
