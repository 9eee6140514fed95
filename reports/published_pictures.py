"""The README's two pictures, a comparison's verdict and its learning curve, as SVG files of their own.

GitHub shows them as images, which no style of a page reaches. So each is drawn twice, in the colours that a
report has on a light and on a dark page.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from reports.curves import curve_picture
from reports.names import as_shown
from reports.render import SYMBOLS, templates
from reports.summary import Summary, summarise
from reports.svg import WIDTH
from reports.text import printable
from reports.verdict import Card, verdict
from vicreg_fast.errors import RecordError

THEMES = ("light", "dark")
MARGIN = 14
"""Between the frame and what is in it, in px; so is every length here."""
TITLE, VALUE, SMALL = 17.0, 27.0, 13.5
"""Sizes of text."""
LEADING = 1.35
GAP = 10
"""Between two rows."""


@dataclass(frozen=True, kw_only=True)
class PublishedPicture:
    name: str
    alt: str
    svg: Mapping[str, str]
    """By theme: a whole file, without script, style sheet or font."""


@dataclass(frozen=True, kw_only=True)
class _Row:
    """A card of the verdict, with its texts in lines."""

    card: Card
    label: list[str]
    detail: list[str]

    @property
    def height(self) -> float:
        return 22 + LEADING * SMALL * (len(self.label) + len(self.detail))


@dataclass(frozen=True, kw_only=True)
class _Frame:
    """One picture before it has colours: its title, and below that rows or a drawing."""

    name: str
    alt: str
    title: list[str]
    height: float
    """Of what is below the title."""
    rows: tuple[_Row, ...] = ()
    column: float = 0
    """Where the rows' labels begin, from their left."""
    drawing: Markup | None = None

    @property
    def top(self) -> float:
        """Where that begins."""
        return MARGIN + LEADING * TITLE * len(self.title) + 14


def readme_pictures(comparison: Summary) -> tuple[PublishedPicture, ...]:
    """The verdict and the learning curve, of one size, since they stand beside each other. Raises RecordError
    where the comparison has no curve."""
    frames = (_verdict(comparison), _curve(comparison))
    size = (WIDTH + 2 * MARGIN, round(max(frame.top + frame.height for frame in frames) + MARGIN))
    template = templates().get_template("picture.svg.j2")
    return tuple(
        PublishedPicture(
            name=frame.name,
            alt=frame.alt,
            svg={
                theme: _resolved(
                    template.render(
                        frame=frame,
                        size=size,
                        margin=MARGIN,
                        title_size=TITLE,
                        value_size=VALUE,
                        small_size=SMALL,
                        leading=LEADING,
                        gap=GAP,
                    ),
                    palette(theme),
                )
                for theme in THEMES
            },
        )
        for frame in frames
    )


def _verdict(comparison: Summary) -> _Frame:
    said = verdict(comparison.report)
    column = 36 + max(_width(card.value, VALUE, "bold") for card in said.cards)
    rows = tuple(
        _Row(
            card=card,
            label=_lines(card.label, SMALL, WIDTH - column - 8),
            detail=_lines(f"{SYMBOLS[card.tone]} {card.detail}", SMALL, WIDTH - column - 8),
        )
        for card in said.cards
    )
    cards = "; ".join(f"{card.label}: {card.value} ({card.detail})" for card in said.cards)
    return _Frame(
        name="verdict",
        alt=printable(f"{said.headline} {cards}."),
        title=_lines(said.headline, TITLE, WIDTH, "bold"),
        height=sum(row.height for row in rows) + GAP * (len(rows) - 1),
        rows=rows,
        column=column,
    )


def _curve(comparison: Summary) -> _Frame:
    picture = curve_picture(summarise(as_shown(comparison.report)))
    if picture is None:
        raise RecordError("the published comparison has no learning curve, which the README shows")
    head, body = picture.svg.split(">", 1)
    (height,) = re.findall(r'viewBox="0 0 [\d.]+ ([\d.]+)"', head)
    return _Frame(
        name="curve",
        alt=picture.alt,
        title=_lines(picture.title, TITLE, WIDTH, "bold"),
        height=float(height),
        drawing=_compact(body.rpartition("</svg>")[0]),
    )


def palette(theme: str) -> dict[str, str]:
    """The colours of a report's page, by the names of their CSS variables."""
    style = (Path(__file__).parent / "templates" / "style.css").read_text(encoding="utf-8")
    block = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[THEMES.index(theme)]
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]+);", block))


def _resolved(svg: str, colours: Mapping[str, str]) -> str:
    svg = svg.replace("currentColor", colours["ink"])
    return re.sub(r"var\(--([\w-]+)\)", lambda variable: colours[variable[1]], svg)


def _compact(drawing: str) -> Markup:
    """Without comments, with two decimals, and only with those ids that are used, by number: what is left is
    the same for all that the eye cannot tell apart."""
    drawing = re.sub(r"<!--.*?-->\s*", "", drawing, flags=re.DOTALL)
    drawing = re.sub(
        r"<[^<>]*>", lambda tag: re.sub(r"\d+\.\d+", lambda n: f"{float(n[0]):.2f}", tag[0]), drawing
    )
    used = dict.fromkeys(re.findall(r'(?:url\(|href=")#([\w.-]+)', drawing))
    numbers = {name: f"i{number}" for number, name in enumerate(used)}
    drawing = re.sub(
        r' id="([\w.-]+)"', lambda i: f' id="{numbers[i[1]]}"' if i[1] in numbers else "", drawing
    )
    return Markup(re.sub(r'(url\(|href=")#([\w.-]+)', lambda i: f"{i[1]}#{numbers[i[2]]}", drawing))


def _lines(text: str, size: float, width: float, weight: str = "normal") -> list[str]:
    """`text` in lines of at most `width`, broken between words, and never between a number and its unit; a
    longer word has a line of its own."""
    lines = [""]
    for word in re.split(r"(?<!\d) | (?![%\w])", printable(text)):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and _width(longer, size, weight) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _width(text: str, size: float, weight: str = "normal") -> float:
    """In the font that matplotlib brings, which is wider than those that readers have."""
    font = FontProperties(family="DejaVu Sans", weight=weight, size=size)
    width: float = text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]
    return width
