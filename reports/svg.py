"""From a matplotlib figure to an inline SVG that a page can colour.

Figures are drawn in sentinel colours, and each becomes a CSS variable here, so that one picture serves light
and dark. Text stays text in the page's own font. Equal figures give equal bytes: ids are salted, and no date
is written.
"""

import html
import re
import warnings
from io import StringIO

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

SCENARIO_COLOURS = 8
"""Colours there are; a ninth scenario takes the first again."""
INK = "#0c0c0c"
GRID = "#0d0d0d"
PAPER = "#0e0e0e"
MUTED = "#0f0f0f"
_SCENARIO = tuple(f"#0b{index:02x}fe" for index in range(SCENARIO_COLOURS))
_VARIABLES = {
    INK: "currentColor",
    GRID: "var(--grid)",
    PAPER: "var(--paper)",
    MUTED: "var(--muted)",
    **{colour: f"var(--scenario-{index})" for index, colour in enumerate(_SCENARIO)},
}

WIDTH = 460
"""Of every picture, in its own pixels: narrow, so that its text can still be read on a phone."""
FONT_SIZE = 13

_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "vicreg-fast",
    "text.parse_math": False,
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": FONT_SIZE,
    "axes.labelsize": FONT_SIZE,
    "axes.titlesize": FONT_SIZE,
    "xtick.labelsize": FONT_SIZE - 0.5,
    "ytick.labelsize": FONT_SIZE,
    "legend.fontsize": FONT_SIZE,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "lines.solid_capstyle": "round",
}


def scenario_colour(number: int) -> str:
    """The sentinel of a scenario's colour."""
    return _SCENARIO[number % SCENARIO_COLOURS]


def style() -> "mpl.RcParams":
    """The style of every picture, to be entered with `mpl.rc_context` around drawing and saving."""
    return mpl.RcParams({**mpl.rcParamsDefault, **_STYLE, "backend": "svg"})


def canvas(height: float, rows: list[float]) -> tuple[Figure, list[Axes]]:
    """A figure `WIDTH` × `height` px, with one axes above the other in these proportions."""
    layout = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.05, hspace=0.09)
    figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72, layout=layout)
    axes = figure.subplots(len(rows), 1, squeeze=False, gridspec_kw={"height_ratios": rows})
    return figure, [row[0] for row in axes]


def to_svg(figure: Figure, *, name: str, alt: str) -> str:
    """The figure as an `<svg>` element without width or height, its ids starting with `name`.

    Raises ValueError when the figure holds a colour that is no sentinel: it would not follow the page's
    theme.
    """
    with StringIO() as out, warnings.catch_warnings():
        # A browser draws the text in its own fonts; matplotlib's lacks some scripts and only measures with
        # it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        figure.savefig(out, format="svg", metadata={"Date": None})
        text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<style[^>]*>.*?</style>\s*", "", text, flags=re.DOTALL)
    head, body = text.split(">", 1)
    view = re.search(r'viewBox="[^"]*"', head)
    if view is None:
        raise ValueError(f"{name}: the backend wrote an <svg> without a viewBox")
    namespaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    head = f'<svg {namespaces} {view[0]} role="img" aria-label="{html.escape(alt)}"'
    return head + ">" + _themed(_prefixed(body, name), name).rstrip() + "\n"


def _prefixed(body: str, name: str) -> str:
    """Ids made unique to this picture: a page holds several, and an id is the page's."""
    body = re.sub(r'(<[^<>]*?\sid=")', rf"\1{name}-", body)
    body = body.replace("url(#", f"url(#{name}-")
    return re.sub(r'(<use xlink:href="#)', rf"\1{name}-", body)


def _themed(body: str, name: str) -> str:
    """Colours as variables and fonts as the page's, inside tags only: a label may look like a colour."""

    def in_tag(tag: re.Match[str]) -> str:
        text = re.sub(r"font-family: [^;\"]*;? ?", "", tag[0])
        text = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", text)
        return re.sub(r"(?<=: )#[0-9a-f]{6}\b", variable, text)

    def variable(colour: re.Match[str]) -> str:
        if colour[0] not in _VARIABLES:
            raise ValueError(f"{name}: {colour[0]} is no colour of the style")
        return _VARIABLES[colour[0]]

    return re.sub(r"<[^<>]*>", in_tag, body)
