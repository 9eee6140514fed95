"""Pictures are well-formed, follow the theme, say their finding, and are the same bytes every time."""

import re
import xml.etree.ElementTree as ET
from importlib import resources

import matplotlib as mpl
import pytest

from reports.drawing import MOST_DOTS
from reports.pictures import pictures
from reports.svg import canvas, style, to_svg

SVG = "{http://www.w3.org/2000/svg}"
COLOUR = re.compile(r"#[0-9a-fA-F]{3,8}\b|\brgba?\(|\bhsla?\(")


def by_name(run) -> dict:
    return {picture.name: picture for picture in pictures(run.report())}


def test_a_full_run_has_every_picture(full_pictures) -> None:
    assert [picture.name for picture in full_pictures] == [
        "curves",
        "ratios",
        "memory",
        "throughput",
        "accuracy",
    ]


def test_an_empty_run_has_none(new_run) -> None:
    assert by_name(new_run()) == {}


def test_titles_say_the_finding(full_pictures) -> None:
    found = {picture.name: picture for picture in full_pictures}
    # Medians of the noise added to 212 pairs/s and of the seeds 61.9, 62.0, 61.2.
    assert found["throughput"].title == "vicreg-fast has the highest median end to end: 213 pairs/s"
    assert found["ratios"].title == "vicreg-fast was faster than baseline in 8 of 8 rounds end to end"
    assert found["memory"].title == "vicreg-fast has the lowest host peak over start: 0.80 GiB"
    assert found["accuracy"].title == "vicreg-fast has the highest mean linear accuracy: 61.7 %"


def test_every_picture_is_accessible_xml_without_a_colour_of_its_own(full_pictures) -> None:
    for picture in full_pictures:
        root = ET.fromstring(picture.svg)
        assert root.tag == f"{SVG}svg"
        assert root.attrib["role"] == "img"
        assert root.attrib["aria-label"] == picture.alt
        assert len(picture.alt) > 20
        assert "viewBox" in root.attrib
        assert not {"width", "height"} & set(root.attrib)
        for element in root.iter():
            for name, value in element.attrib.items():
                if name != "aria-label" and not name.endswith("href"):
                    assert not COLOUR.search(value.replace("url(#", "")), (picture.name, value)
        assert "var(--scenario-1)" in picture.svg
        assert "currentColor" in picture.svg


def test_text_stays_text_in_the_page_s_font(full_pictures) -> None:
    (svg,) = (picture.svg for picture in full_pictures if picture.name == "throughput")
    texts = ["".join(element.itertext()) for element in ET.fromstring(svg).iter(f"{SVG}text")]
    assert {"baseline", "vicreg-fast", "tuned", "pairs of views per second"} <= set(texts)
    assert "DejaVu" not in svg


def test_ids_are_unique_over_all_pictures_and_references_resolve(full_pictures) -> None:
    page = "".join(picture.svg for picture in full_pictures)
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    used = re.findall(r'href="#([^"]+)"', page) + re.findall(r"url\(#([^)]+)\)", page)
    assert used
    assert set(used) <= set(ids)


def test_a_scenario_has_one_colour_in_every_picture(full_run) -> None:
    """Without `fast` in one picture, `tuned` keeps the colour it has elsewhere."""
    full_run.records = [r for r in full_run.records if not (r.kind == "memory" and r.scenario == "fast")]
    found = by_name(full_run)
    assert "var(--scenario-1)" not in found["memory"].svg
    assert "var(--scenario-2)" in found["memory"].svg
    assert "var(--scenario-2)" in found["ratios"].svg


def test_every_variable_is_defined_for_light_and_for_dark() -> None:
    css = (resources.files("reports") / "templates" / "style.css").read_text(encoding="utf-8")
    light, dark = re.findall(r":root \{([^}]*--scenario-0[^}]*)\}", css)
    for number in range(8):
        assert f"--scenario-{number}:" in light
        assert f"--scenario-{number}:" in dark
    for theme in (light, dark):
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", theme))
        for name in (*(f"scenario-{n}" for n in range(8)), "good", "bad", "open"):
            # WCAG 2.2, 1.4.11: graphical objects need 3:1; 1.4.3: text needs 4.5:1.
            assert contrast(colours[name], colours["paper"]) >= 3, name
        for name in ("ink", "muted", "link", "good", "bad", "open"):
            assert contrast(colours[name], colours["raised"]) >= 4.5, name


def contrast(one: str, other: str) -> float:
    """WCAG 2.2's contrast ratio of two sRGB colours."""

    def luminance(colour: str) -> float:
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dim = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def test_a_colour_outside_the_style_is_refused() -> None:
    with mpl.rc_context(style()):
        figure, (ax,) = canvas(100, [1])
        ax.plot([0, 1], color="#ff0000")
        with pytest.raises(ValueError, match="#ff0000 is no colour of the style"):
            to_svg(figure, name="x", alt="y")


@pytest.mark.parametrize(
    "name", ["$\\frac{", "日本語 emoji 🎉", "<script>&\"'", "a" * 300, "\x00\x1b\ufffe", "#0b00fe: x", "_x"]
)
def test_any_name_can_be_drawn(new_run, name: str) -> None:
    run = new_run("baseline", name, contender=name)
    for subject in ("baseline", name):
        run.throughput(subject, [100.0, 101.0]).memory(subject, 1.0).accuracy(subject, [60.0], [(1.0, 50.0)])
    drawn = pictures(run.report())
    assert len(drawn) == 5
    for picture in drawn:
        ET.fromstring(picture.svg)


def test_memory_of_nothing_is_not_drawn(new_run) -> None:
    assert "memory" not in by_name(new_run().memory("fast", 0.0, device=0.0))


def test_drawing_leaves_matplotlib_as_it_was_and_is_repeatable(full_run, full_pictures) -> None:
    before = dict(mpl.rcParams)
    again = pictures(full_run.report())
    assert [picture.svg for picture in again] == [picture.svg for picture in full_pictures]
    assert dict(mpl.rcParams) == before


def test_thousands_of_rounds_are_a_bounded_number_of_dots(new_run) -> None:
    rates = [100.0 + number % 97 for number in range(2000)]
    svg = by_name(new_run("baseline", contender="baseline").throughput("baseline", rates))["throughput"].svg
    assert MOST_DOTS <= svg.count("<use ") < MOST_DOTS + 100
