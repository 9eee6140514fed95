"""A linear evaluation's numbers as tables and as CSV."""

import csv
import io

from reports.linear_summary import class_accuracies, gain, most_confused, spoken, wilson
from reports.tables import Table
from reports.text import NOTHING, percent, signed
from vicreg_fast.evaluation.result import LinearResult, SubjectResult, TriedWeight

MOST_PAIRS = 12


def accuracy_table(result: LinearResult) -> Table:
    rows = []
    for name, value in result.results.items():
        found, over = wilson(value.linear_top1, result.test_images), gain(value, result.test_images)
        rows.append(
            (
                spoken(name),
                percent(value.linear_top1),
                f"{100 * found.low:.1f}–{100 * found.high:.1f}",
                f"{signed(100 * over.estimate)} ({signed(100 * over.low)} to {signed(100 * over.high)})"
                if over
                else NOTHING,
                NOTHING if value.linear_top5 is None else percent(value.linear_top5),
                percent(value.linear_train_top1),
                percent(value.knn_top1),
                f"{value.l2_weight:g}",
            )
        )
    columns = (
        "representation",
        "linear top-1",
        "95 % interval",
        "trunk's points over it",
        "top-5",
        "on training images",
        f"{result.knn_neighbours}-NN",
        "L2 weight",
    )
    return Table(title="Accuracy", columns=columns, rows=tuple(rows))


def tried_table(result: LinearResult) -> Table:
    """What the probe's grid gave, and how the final fit ended."""
    rows = [
        (
            spoken(name),
            f"{one.l2_weight:g}",
            percent(one.fit_top1),
            percent(one.held_out_top1),
            _chosen(one, value),
        )
        for name, value in result.results.items()
        for one in value.tried
    ]
    columns = (
        "representation",
        "L2 weight",
        "fitted images",
        "held-out images",
        "chosen; iterations of its fit",
    )
    return Table(title="The probe's L2 weight", columns=columns, rows=tuple(rows))


def confused_table(result: LinearResult) -> Table:
    pairs = most_confused(result.results["backbone"], MOST_PAIRS)
    rows = tuple(
        (result.classes[p.true], result.classes[p.predicted], f"{p.count:,}", percent(p.count / p.images))
        for p in pairs
    )
    columns = ("true class", "taken for", "test images", "of the class's")
    return Table(title="Most confused", columns=columns, rows=rows, names=2)


def class_table(result: LinearResult) -> Table:
    """Every class, in the order of the names, with each representation's accuracy."""
    by_subject = {name: class_accuracies(value) for name, value in result.results.items()}
    rows = tuple(
        (
            label,
            f"{by_subject['backbone'][number].images:,}",
            *(percent(of[number].share) if of[number].images else NOTHING for of in by_subject.values()),
        )
        for number, label in enumerate(result.classes)
    )
    columns = ("class", "test images", *map(spoken, by_subject))
    return Table(title="By class", columns=columns, rows=rows)


def linear_tables(result: LinearResult) -> tuple[Table, ...]:
    """Those that hold anything; `class_table` apart, which may be long."""
    tables = (accuracy_table(result), confused_table(result), tried_table(result))
    return tuple(table for table in tables if table.rows)


def confusion_csv(result: LinearResult) -> str:
    """Every count that is not zero: subject, true class, predicted class, test images."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("subject", "true_class", "predicted_class", "test_images"))
    for name, value in result.results.items():
        for true, row in enumerate(value.confusion):
            for predicted, count in enumerate(row):
                if count:
                    writer.writerow((name, result.classes[true], result.classes[predicted], count))
    return out.getvalue()


def _chosen(one: TriedWeight, value: SubjectResult) -> str:
    if one.l2_weight != value.l2_weight:
        return ""
    if value.iterations is None:
        return "chosen"
    return f"chosen; {value.iterations}" + ("" if value.converged else ", at its limit")
