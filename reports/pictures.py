"""Every picture of a comparison, in reading order."""

from reports.curves import curve_picture
from reports.drawing import Picture
from reports.figures import accuracy_picture, memory_picture, ratio_picture, throughput_picture
from reports.load import Report
from reports.names import as_shown
from reports.roofline import roofline_picture
from reports.summary import summarise
from reports.waterfall import ladders, waterfall

DRAWN = (
    curve_picture,
    ratio_picture,
    memory_picture,
    throughput_picture,
    roofline_picture,
    accuracy_picture,
)


def pictures(report: Report) -> tuple[Picture, ...]:
    """Those that the records have the numbers for; a ladder's come first."""
    summary = summarise(as_shown(report))
    return tuple(map(waterfall, ladders(summary))) + tuple(
        picture for draw in DRAWN if (picture := draw(summary)) is not None
    )
