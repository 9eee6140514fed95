"""What the pictures are drawn with: a row a scenario, with its bar, dots, interval and value."""

from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bench.compare import Interval
from reports.svg import INK, MUTED, PAPER, scenario_colour, to_svg
from reports.text import percent, printable, shortened

ROW = 34
"""Height of one scenario's bar and its gap, in px."""
MOST_DOTS = 300
"""Drawn of one scenario in one axes; more would be a blot. The least and the greatest always are."""
LABEL = 18
"""Characters of a name in a picture; tables have it whole."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    name: str
    title: str
    """The finding, in words."""
    caption: str
    """How to read it."""
    alt: str
    svg: str


def finished(figure: Figure, *, name: str, title: str, caption: str, alt: str) -> Picture:
    """To be called inside the style's context: an SVG is styled as it is saved."""
    alt = printable(alt)
    return Picture(name=name, title=title, caption=caption, alt=alt, svg=to_svg(figure, name=name, alt=alt))


def named(name: str) -> str:
    """A scenario's name in a title."""
    return shortened(name, 40)


def height(groups: Iterable[Sized]) -> float:
    return 30 + sum(ROW * len(group) + 46 for group in groups)


def label_rows(ax: Axes, names: Sequence[str], title: str) -> None:
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set_yticks(range(len(names)), [shortened(name, LABEL) for name in names])
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5))
    ax.grid(visible=True, axis="x")
    if title:
        ax.set_title(title, pad=5)


def bar(ax: Axes, row: int, value: float, colour: int, alpha: float = 0.38) -> None:
    ax.barh(row, value, height=0.62, color=scenario_colour(colour), alpha=alpha, linewidth=0)


def whisker(ax: Axes, row: float, interval: Interval) -> None:
    ax.plot([interval.low, interval.high], [row, row], color=INK, lw=2.2, zorder=5)


def value_beside(ax: Axes, row: float, right: float, text: str) -> None:
    ax.annotate(
        text, (right, row), xytext=(9, 0), textcoords="offset points", va="center", annotation_clip=False
    )


def dots(
    ax: Axes, row: int, values: Sequence[float], colour: int, spread: float = 0.2, size: float = 4.5
) -> None:
    """The values as dots, apart by their order so that equal ones can be told: the same at every call."""
    shown = values
    if len(values) > MOST_DOTS:
        ordered = sorted(values)
        shown = [ordered[round(index * (len(ordered) - 1) / (MOST_DOTS - 1))] for index in range(MOST_DOTS)]
    offsets = [row + spread * (2 * ((index * 0.618034) % 1) - 1) for index in range(len(shown))]
    if len(shown) == 1:
        offsets = [row]
    face = scenario_colour(colour)
    ax.plot(list(shown), offsets, "o", ms=size, mfc=face, mec=PAPER, mew=0.6, zorder=4)


def floor_lines(ax: Axes, rows: int, floors: Mapping[str, float]) -> None:
    """Floors, in percent, as dashed lines, each labelled on a line of its own: two are often close."""
    left, right = ax.get_xlim()
    shares = [(at - left) / (right - left) for at in floors.values()]
    to_right = not shares or max(shares) < 0.55 or min(shares) < 0.3
    # The line of the tallest label is the outermost, so that no line runs through a label.
    outermost_first = sorted(floors.items(), key=lambda floor: floor[1], reverse=not to_right)
    for step, (name, at) in enumerate(outermost_first):
        side = to_right and (at - left) / (right - left) < 0.55
        top = -0.6 - 0.5 * (len(floors) - step)
        dashes = (0, (4, 3))
        ax.plot([at, at], [rows - 0.4, top], color=MUTED, lw=1.4, ls=dashes, clip_on=False, zorder=2)
        text = f"{name.replace('-', ' ')} {percent(at / 100)}"
        ax.annotate(
            text,
            (at, top + 0.16),
            xytext=(5 if side else -5, 0),
            textcoords="offset points",
            ha="left" if side else "right",
            va="center",
            annotation_clip=False,
            bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1},
        )
