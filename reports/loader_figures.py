"""The pictures of a report of loaders: pairs/s, against threads where there are several, and speed against
fidelity."""

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from bench.loader_record import CROP, WHOLE
from reports.drawing import bar, dots, height, label_rows, value_beside, whisker
from reports.figures import Picture
from reports.loader_load import Place
from reports.loader_sentences import ratio_text
from reports.loader_summary import LoaderSummary, Row
from reports.svg import canvas, scenario_colour, style, to_svg
from reports.text import amount, plural, printable, shortened

MOST_PANELS = 4
"""Of image and batch sizes in one picture; the tables have them all."""
PANEL = 190
LEGEND_COLUMNS = 2


def loader_pictures(summary: LoaderSummary) -> tuple[Picture, ...]:
    """Every picture that the records have the numbers for."""
    several = len({place.threads for place in summary.rows}) > 1
    drawn = (_by_threads(summary) if several else rates_picture(summary), _speed_and_fidelity(summary))
    return tuple(picture for picture in drawn if picture is not None)


def rates_picture(summary: LoaderSummary) -> Picture | None:
    """Each loader's pairs/s; None where nothing was timed."""
    shown = dict(list(summary.rows.items())[-MOST_PANELS:])
    if not shown or summary.main_place is None:
        return None
    best = max(summary.rows[summary.main_place], key=lambda row: row.rate.estimate)
    title = f"{_named(best.subject)} makes the most, {amount(best.rate.estimate)} pairs/s at {best.place}"
    if len(shown[summary.main_place]) == 1:
        title = f"{_named(best.subject)} makes {amount(best.rate.estimate)} pairs/s at {best.place}"
    with mpl.rc_context(style()):
        figure, axes = canvas(height(shown.values()), [len(rows) + 1 for rows in shown.values()])
        greatest = max(max(row.by_round.values()) for rows in shown.values() for row in rows)
        for ax, (place, rows) in zip(axes, shown.items(), strict=True):
            for number, row in enumerate(rows):
                colour = summary.colour(row.subject)
                bar(ax, number, row.rate.estimate, colour)
                dots(ax, number, list(row.by_round.values()), colour)
                whisker(ax, number, row.rate)
                right = max(row.rate.high, *row.by_round.values())
                value_beside(ax, number, right, amount(row.rate.estimate))
            label_rows(ax, [row.subject for row in rows], str(place))
            ax.set_xlim(0, greatest * 1.2)
        axes[-1].set_xlabel("pairs of views per second")
        caption = "Bar: median over rounds. Line: its 95 % interval. Dots: the rounds. Longer is faster."
        alt = _alt(summary)
        svg = to_svg(figure, name="loader-rates", alt=alt)
        return Picture(name="loader-rates", title=title, caption=caption, alt=alt, svg=svg)


def _by_threads(summary: LoaderSummary) -> Picture | None:
    groups = list(dict.fromkeys((place.image_size, place.batch_size) for place in summary.rows))[
        -MOST_PANELS:
    ]
    ours, place = summary.contender, summary.main_place
    grown = [growth for growth in summary.growth if (growth.subject, growth.place) == (ours, place)]
    title = "Pairs/s by threads"
    if grown:
        span = f"From {grown[0].from_threads} to {plural(grown[0].place.threads, 'thread')}"
        title = f"{span} {ours} makes {ratio_text(grown[0].ratio)} the pairs/s"
    rows = -(-len(summary.report.subjects) // LEGEND_COLUMNS)
    with mpl.rc_context(style()):
        figure, axes = canvas(PANEL * len(groups) + 22 * rows + 40, [1.0] * len(groups))
        for ax, group in zip(axes, groups, strict=True):
            _lines(ax, summary, group, labelled=ax is axes[0])
        axes[-1].set_xlabel("threads, or worker processes")
        _legend(figure)
        caption = "Median over rounds with its 95 % interval. Higher is faster."
        alt = _alt(summary)
        svg = to_svg(figure, name="loader-rates", alt=alt)
        return Picture(name="loader-rates", title=title, caption=caption, alt=alt, svg=svg)


def _lines(ax: Axes, summary: LoaderSummary, group: tuple[int, int], *, labelled: bool) -> None:
    places = [place for place in summary.rows if place[:2] == group]
    for subject in summary.report.subjects:
        rows = [row for place in places if (row := summary.row(subject, place)) is not None]
        colour = scenario_colour(summary.colour(subject))
        # A label that begins with "_" would be left out of the legend.
        label = f" {shortened(subject, 24)}" if labelled else None
        ax.plot(
            [row.place.threads for row in rows],
            [row.rate.estimate for row in rows],
            color=colour,
            lw=1.8,
            marker="o",
            ms=4.5,
            label=label,
        )
        for row in rows:
            ax.plot([row.place.threads] * 2, [row.rate.low, row.rate.high], color=colour, lw=2.4, alpha=0.6)
    ticks = sorted({place.threads for place in places})
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.set_ylim(bottom=0)
    ax.yaxis.set_major_locator(MaxNLocator(nbins=4))
    ax.set_ylabel("pairs/s")
    ax.grid(visible=True)
    ax.set_title(f"{group[0]} px, batch {group[1]}", pad=5)


def _speed_and_fidelity(summary: LoaderSummary) -> Picture | None:
    """At the headline's place: speed upwards, difference from the official views to the right."""
    place = summary.main_place
    rows = [row for row in summary.rows[place] if _apart_of(summary, row) is not None] if place else []
    if place is None or not rows:
        return None
    nearest = min(rows, key=lambda row: (_apart_of(summary, row) or (0.0, 0.0))[::-1])
    fastest = max(rows, key=lambda row: row.rate.estimate)
    crop, whole = _apart_of(summary, fastest) or (0.0, 0.0)
    title = f"The fastest, {_named(fastest.subject)}, is {whole:.2f} of 255 from the official views"
    if fastest is nearest:
        title = f"{_named(fastest.subject)} is the fastest, and no other is nearer to the official views"
    lines = -(-len(rows) // LEGEND_COLUMNS)
    with mpl.rc_context(style()):
        figure, (ax,) = canvas(250 + 22 * lines, [1])
        for row in rows:
            crop, whole = _apart_of(summary, row) or (0.0, 0.0)
            colour = scenario_colour(summary.colour(row.subject))
            speed = row.rate.estimate
            ax.plot([crop, whole], [speed, speed], color=colour, lw=1.2, alpha=0.6)
            ax.plot([crop], [speed], "o", ms=8, color=colour, label=f" {shortened(row.subject, 24)}")
            ax.plot([whole], [speed], "D", ms=7, mfc="none", mec=colour, mew=1.8)
        ax.set_ylim(bottom=0)
        left, right = ax.get_xlim()
        ax.set_xlim(min(left, -0.05), max(right, 1.0))
        ax.set_xlabel("mean absolute difference, of 255")
        ax.set_ylabel("pairs/s")
        ax.yaxis.set_major_locator(MaxNLocator(nbins=5))
        ax.grid(visible=True)
        _legend(figure)
        caption = (
            f"At {place}. Filled: the same boxes decoded, cropped and resized. Hollow: whole views with the "
            "same parameters. Up is faster, left is nearer to what torchvision makes of a Pillow image."
        )
        alt = printable(
            f"Pairs/s and mean absolute difference of 255 at {place}. "
            + "; ".join(_alt_of(summary, row) for row in rows)
        )
        svg = to_svg(figure, name="loader-fidelity", alt=alt)
        return Picture(name="loader-fidelity", title=title, caption=caption, alt=alt, svg=svg)


def _apart_of(summary: LoaderSummary, row: Row) -> tuple[float, float] | None:
    """(CROP, WHOLE); None where either was not measured."""
    crop = summary.crop_difference(row.subject, row.place.image_size)
    whole = summary.whole_difference(row.subject, row.place.image_size)
    return None if crop is None or whole is None else (crop, whole)


def _alt_of(summary: LoaderSummary, row: Row) -> str:
    crop, whole = _apart_of(summary, row) or (0.0, 0.0)
    return f"{row.subject} {amount(row.rate.estimate)}, {CROP} {crop:.2f}, {WHOLE} {whole:.2f}"


def _alt(summary: LoaderSummary) -> str:
    def at(place: Place) -> str:
        return ", ".join(f"{row.subject} {amount(row.rate.estimate)}" for row in summary.rows[place])

    return printable(
        "Pairs of views a second. " + "; ".join(f"{place}: {at(place)}" for place in summary.rows)
    )


def _legend(figure: "mpl.figure.Figure") -> None:
    figure.legend(
        loc="outside upper left", ncols=LEGEND_COLUMNS, frameon=False, handlelength=1.1, columnspacing=1.0
    )


def _named(subject: str) -> str:
    return shortened(subject, 32)
