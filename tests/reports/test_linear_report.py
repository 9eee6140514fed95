"""A linear evaluation's file becomes a page: counts, intervals, neighbours; old files load, broken ones are
refused in one line."""

import csv
import io
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from reports.dispatch import choose_kind
from reports.linear_figures import _objective, linear_pictures
from reports.linear_render import neighbour_rows, render_linear_html, render_linear_markdown, write_linear
from reports.linear_summary import class_accuracies, gain, most_confused, wilson
from reports.linear_tables import accuracy_table, class_table, confused_table, confusion_csv
from reports.linear_verdict import linear_verdict
from tests.reports.linear_results import CLASSES, answer, linear_result, subject
from tests.reports.test_render import HOSTILE, Page
from vicreg_fast.errors import CheckpointError, RecordError, UsageError
from vicreg_fast.evaluation.result import LinearResult, is_result, read_result, write_result

OLD_FIELDS = ("linear_top1", "linear_top5", "linear_train_top1", "l2_weight", "knn_top1", "confusion")


def old_content() -> dict[str, object]:
    """As files were before they had a version."""
    content = linear_result().model_dump(mode="json")
    for key in ("schema_version", "kind", "time", "knn_neighbours", "query_rule", "queries", "images"):
        del content[key]
    content["results"] = {
        name: {key: value[key] for key in OLD_FIELDS} for name, value in content["results"].items()
    }
    return content


def test_the_page_says_accuracy_first_and_shows_neighbours(tmp_path: Path) -> None:
    file = tmp_path / "linear.json"
    write_result(linear_result(), file)
    kind = choose_kind([file])
    assert kind.name == "a linear evaluation"
    written = kind.write([file], tmp_path / "out")
    assert set(written) == {"linear.html", "linear.md", "linear.csv"}
    html = written["linear.html"].read_text()
    page = Page(html)
    headline = (
        "A linear probe on the frozen trunk of step 20 is right on 70.0 % of 100 test images, "
        "20.0 points (+7.9 to +31.3) above untrained trunk and 40.0 points (+26.3 to +52.2) above raw pixels."
    )
    places = [page.words.index(text) for text in (headline, "Pictures", "Nearest neighbours", "Numbers")]
    assert places == sorted(places)
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base", "form")
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href"):
                assert str(value).startswith(("#", "data:"))
    shown = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(shown) == 2 * (1 + 3 * 3)
    assert {attributes["alt"] for attributes in shown} == set(CLASSES)
    assert headline.split(",")[0] in written["linear.md"].read_text().replace("\\", "")
    console = Console(file=io.StringIO(), width=130)
    kind.print([file], console)
    assert "70.0 %" in console.file.getvalue()  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="one linear evaluation"):
        write_linear([file, file], tmp_path)


def test_right_and_wrong_are_of_the_querys_class() -> None:
    first, second = neighbour_rows(linear_result())
    assert (first.query.name, first.query.right) == ("cat", True)
    assert (second.query.name, second.query.right) == ("dog", False)
    name, says, right, near = second.answers[1]
    assert (name, says, right) == ("untrained trunk", "dog", True)
    assert [(one.name, one.right) for one in near] == [("dog", True)] * 3
    assert [one.right for one in first.answers[0][3]] == [True, True, False]
    assert [one.similarity for one in near] == pytest.approx([0.9, 0.8, 0.7])


def test_intervals_are_the_known_ones() -> None:
    half = wilson(0.5, 100)
    assert (half.low, half.high) == pytest.approx((0.40383, 0.59617), abs=1e-5)
    none = wilson(0.0, 20)
    assert (none.low, none.high) == pytest.approx((0.0, 0.16113), abs=1e-5)
    assert (wilson(0.0, 0).low, wilson(0.0, 0).high) == (0.0, 1.0)
    floor = linear_result().results["random-trunk"]
    found = gain(floor, 100)
    assert found is not None
    # Agresti and Min: b = 30.5, c = 10.5, n = 102.
    middle, error = 20 / 102, (41 - 400 / 102) ** 0.5 / 102
    assert found.estimate == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((middle - 1.96 * error, middle + 1.96 * error), abs=1e-4)
    equal = gain(floor.model_copy(update={"only_backbone_right": 0, "only_this_right": 0}), 100)
    assert equal is not None
    assert equal.low < 0 < equal.high, "no difference seen is not none to be had"


def paired(ours: int, theirs: int) -> LinearResult:
    result = linear_result()
    floors = {
        name: value.model_copy(update={"only_backbone_right": ours, "only_this_right": theirs})
        for name, value in result.results.items()
        if name != "backbone"
    }
    return result.model_copy(update={"results": {"backbone": result.results["backbone"], **floors}})


def test_the_tone_is_what_was_shown_against_the_floors() -> None:
    assert linear_verdict(linear_result()).tone == "good"
    assert linear_verdict(paired(10, 40)).tone == "bad"
    assert linear_verdict(paired(10, 9)).tone == "open"
    trunk = linear_result().results["backbone"]
    alone = linear_verdict(linear_result(results={"backbone": trunk}))
    assert alone.tone == "open"
    assert any("--floors" in caveat for caveat in alone.caveats)


def test_what_weakens_a_probe_is_said() -> None:
    trunk = linear_result().results["backbone"]
    weak = trunk.model_copy(update={"converged": False, "l2_weight": 0.001})
    said = linear_verdict(linear_result(results={"backbone": weak}))
    assert any("ended by its limit of iterations" in caveat for caveat in said.caveats)
    assert any("at an end of the grid" in caveat for caveat in said.caveats)
    empty = trunk.model_copy(
        update={"confusion": ((20, 5, 0, 0), (0, 0, 0, 0), (0, 0, 20, 5), (5, 5, 0, 15))}
    )
    said = linear_verdict(linear_result(results={"backbone": empty}))
    assert any("1 of 4 classes have no test image" in caveat for caveat in said.caveats)


def test_counts_by_class_and_pair() -> None:
    result = linear_result()
    trunk = result.results["backbone"]
    assert [(one.images, one.right) for one in class_accuracies(trunk)] == [
        (25, 20), (25, 15), (25, 20), (25, 15),
    ]  # fmt: skip
    assert confused_table(result).rows[0] == ("dog", "cat", "10", "40.0 %")
    assert [pair.count for pair in most_confused(trunk, 99)] == [10, 5, 5, 5, 5]
    assert class_table(result).rows[1] == ("dog", "25", "60.0 %", "40.0 %", "20.0 %")
    assert accuracy_table(result).rows[1][3] == "+20.0 (+7.9 to +31.3)"
    rows = list(csv.DictReader(io.StringIO(confusion_csv(result))))
    assert {"subject": "backbone", "true_class": "dog", "predicted_class": "cat", "test_images": "10"} in rows
    assert sum(int(row["test_images"]) for row in rows) == 300


def test_many_classes_are_drawn_in_groups() -> None:
    count = 120
    confusion = 4 * np.eye(count, dtype=int)
    confusion[7, 90] = 3
    names = tuple(f"n{number:04d}" for number in range(count))
    many = linear_result(
        classes=names,
        test_images=483,
        results={"backbone": subject(tuple(map(tuple, confusion.tolist())))},
        queries=(),
        images={},
    )
    pictures = {picture.name: picture for picture in linear_pictures(many)}
    matrix = pictures["linear-confusion"]
    assert matrix.title == "Most often taken for another: n0007 for n0090, 3 of 7"
    assert "120 classes, in the order of their names, are drawn in 20 groups" in matrix.caption
    assert "The 12 lowest and the 12 highest of 120 classes" in pictures["linear-classes"].caption
    assert all(len(picture.svg) < 300_000 for picture in pictures.values())


def test_an_objective_that_no_axis_has_is_not_drawn() -> None:
    trunk = linear_result().results["backbone"]
    for objective in ((1e308, math.nan, 1.0), (-1e308, 1e308), (math.inf, 1.0)):
        wild = linear_result(results={"backbone": trunk.model_copy(update={"objective": objective})})
        assert _objective(wild) is None


def test_files_of_before_the_version_load_and_are_reported(tmp_path: Path) -> None:
    file = tmp_path / "linear.json"
    file.write_text(json.dumps(old_content()))
    assert is_result(file)
    result = read_result(file)
    assert result.schema_version == 1
    assert result.results["backbone"].tried == ()
    said = linear_verdict(result)
    assert (
        "70.0 % of 100 test images, against 50.0 % of untrained trunk and against 30.0 % of raw"
        in said.headline
    )
    names = [picture.name for picture in linear_pictures(result)]
    assert names == ["linear-accuracy", "linear-confusion", "linear-classes"]
    assert "Nearest neighbours" not in render_linear_markdown(result)


def broken(**changes: object) -> str:
    return json.dumps({**linear_result().model_dump(mode="json"), **changes})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (broken(schema_version=2), "schema 2 is newer than this version reads (1); upgrade vicreg-fast"),
        (broken(classes=["a"]), "confusion is not classes × classes"),
        (broken(results={}), "results has no backbone"),
        (broken(images={}), "there is no image 'test-0'"),
        (broken(queries=[{"image": "test-0", "label": 99}] * 2), "there is no class 99"),
        (broken(queries=[]), "2 answers for 0 queries"),
        (broken(images={"test-0": '"><script>'}), "images.test-0"),
        (broken(surprise=1), "surprise"),
        (broken()[:-20], "is not a whole JSON object"),
        ("[1]", "is not a whole JSON object"),
    ],
    ids=[
        "newer",
        "classes",
        "subjects",
        "images",
        "labels",
        "answers",
        "base64",
        "extra",
        "torn",
        "list",
    ],
)
def test_files_that_are_no_result_are_refused_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "linear.json"
    file.write_text(text)
    with pytest.raises(RecordError, match=re.escape(words)) as caught:
        read_result(file)
    assert "\n" not in str(caught.value)
    assert "linear.json" in str(caught.value)


def test_a_result_is_written_whole_with_its_matrices_in_rows(tmp_path: Path) -> None:
    file = tmp_path / "linear.json"
    result = linear_result()
    write_result(result, file)
    assert read_result(file) == result
    assert "[20, 5, 0, 0]" in file.read_text()
    assert [entry.name for entry in tmp_path.iterdir()] == ["linear.json"]
    with pytest.raises(CheckpointError, match="name another file with --out"):
        write_result(result, file / "below")
    assert read_result(file) == result
    assert not is_result(tmp_path / "missing.json")


def test_hostile_names_are_shown_as_text() -> None:
    result = linear_result(classes=(HOSTILE, "b", "c", "d"), data=HOSTILE, recipe=HOSTILE, query_rule=HOSTILE)
    html = render_linear_html(result)
    assert render_linear_html(result) == html
    assert "<script" not in html
    assert "\x1b" not in html
    assert "alert(1)" in Page(html).words


def test_answers_name_their_neighbours() -> None:
    assert answer(1, 2, 3).nearest[1].image == "train-3"
