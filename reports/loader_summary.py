"""What a report of loaders says in numbers: every loader at every setting, and pairs of them."""

import statistics
from dataclasses import dataclass
from functools import cached_property

from bench.compare import Interval, median_interval, paired_ratio
from bench.loader_record import CROP, WHOLE, LoaderFidelity, LoaderRate, OperationDifference
from reports.loader_load import CONTENDERS, LoaderReport, Place, place_of

NEARLY = 0.9
"""Share of the cores, or of a loader's threads, that must be busy for them to be what holds it back."""
CLOSE = 1.0
"""Mean absolute difference, of 255, up to which an operation counts as the official one: rounding alone, a
few times over, stays below it."""
CLOSE_CROP = 0.5
"""The same of decoding and the resized crop: bicubic antialiased resizes are some 0.2 from each other, and a
linear one, or one that is not antialiased, is 0.5 to 1.5 from them (docs/PIPELINES.md)."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One loader at one place."""

    subject: str
    place: Place
    rate: Interval
    """Pairs of views a second: the median over rounds, each round's own median its sample."""
    by_round: dict[int, float]
    ratio: Interval | None
    """To the baseline's pairs/s, over the rounds that both have; None without any, and for the baseline."""
    cores_used: float | None
    cpu_ms_per_pair: float | None
    bound_by: str | None
    """`cores`, `threads` or `waiting`; None where processor time is not recorded."""


@dataclass(frozen=True, kw_only=True)
class Growth:
    """What more threads bring one loader."""

    subject: str
    place: Place
    """Its threads are the larger number."""
    from_threads: int
    ratio: Interval


class LoaderSummary:
    """Everything that is computed from a LoaderReport."""

    def __init__(self, report: LoaderReport) -> None:
        self.report = report
        self._by_round: dict[tuple[str, Place], dict[int, LoaderRate]] = {}
        for rate in report.rates:
            self._by_round.setdefault((rate.subject, place_of(rate)), {})[rate.round] = rate

    @cached_property
    def rows(self) -> dict[Place, tuple[Row, ...]]:
        """At each place, every loader that was timed there, in the order of the subjects."""
        return {
            place: tuple(
                self._row(subject, place)
                for subject in self.report.subjects
                if (subject, place) in self._by_round
            )
            for place in self.report.places
        }

    def row(self, subject: str, place: Place) -> Row | None:
        return next((row for row in self.rows.get(place, ()) if row.subject == subject), None)

    @cached_property
    def main_place(self) -> Place | None:
        """The place that the headline is about: most threads, at the largest image and batch; None when
        nothing was timed."""
        return self.report.places[-1] if self.report.places else None

    @cached_property
    def contender(self) -> str | None:
        """The loader that stands for ours, if it was timed."""
        timed = {subject for subject, _ in self._by_round}
        ours = [
            subject.name
            for pipeline in CONTENDERS
            for subject in self.report.subjects.values()
            if subject.pipeline == pipeline and subject.name in timed
        ]
        return ours[0] if ours else None

    def ratio(self, rival: str, subject: str, place: Place) -> Interval | None:
        """subject ÷ rival in pairs/s over the rounds that both finished; None without any."""
        theirs, ours = self._medians(rival, place), self._medians(subject, place)
        rounds = sorted(theirs.keys() & ours.keys())
        return paired_ratio([theirs[r] for r in rounds], [ours[r] for r in rounds]) if rounds else None

    @cached_property
    def growth(self) -> tuple[Growth, ...]:
        """Each loader's fewest threads against each larger number, at the same image and batch size."""
        found = []
        for subject in self.report.subjects:
            places = [place for place in self.report.places if (subject, place) in self._by_round]
            for place in places:
                least = min(p.threads for p in places if p[:2] == place[:2])
                few = self._medians(subject, place._replace(threads=least))
                many = self._medians(subject, place)
                rounds = sorted(few.keys() & many.keys())
                if least < place.threads and rounds:
                    ratio = paired_ratio([few[r] for r in rounds], [many[r] for r in rounds])
                    found.append(Growth(subject=subject, place=place, from_threads=least, ratio=ratio))
        return tuple(found)

    def fidelity(self, subject: str, image_size: int) -> LoaderFidelity | None:
        """The last that was measured."""
        found = [f for f in self.report.fidelities if (f.subject, f.image_size) == (subject, image_size)]
        return found[-1] if found else None

    def crop_difference(self, subject: str, image_size: int) -> float | None:
        """Of decoding and the resized crop, out of 255."""
        return self._difference(subject, image_size, CROP)

    def whole_difference(self, subject: str, image_size: int) -> float | None:
        """Of whole views, out of 255."""
        return self._difference(subject, image_size, WHOLE)

    def unlike(self, subject: str, image_size: int) -> tuple[OperationDifference, ...]:
        """The operations that are further from the official ones than CLOSE, or CLOSE_CROP, alone."""
        found = self.fidelity(subject, image_size)
        if found is None:
            return ()
        return tuple(
            o
            for o in found.operations
            if o.operation != WHOLE and not o.mean <= (CLOSE_CROP if o.operation == CROP else CLOSE)
        )

    def colour(self, subject: str) -> int:
        return list(self.report.subjects).index(subject)

    @property
    def cores(self) -> int:
        return self.report.environments[0].cores

    def _difference(self, subject: str, image_size: int, operation: str) -> float | None:
        found = self.fidelity(subject, image_size)
        means = [o.mean for o in found.operations if o.operation == operation] if found else []
        return means[0] if means else None

    def _medians(self, subject: str, place: Place) -> dict[int, float]:
        found = self._by_round.get((subject, place), {})
        return {number: statistics.median(rate.pairs_per_second) for number, rate in sorted(found.items())}

    def _row(self, subject: str, place: Place) -> Row:
        by_round = self._medians(subject, place)
        rates = self._by_round[subject, place].values()
        cores = [rate.cores_used for rate in rates if rate.cores_used is not None]
        spent = [rate.cpu_ms_per_pair for rate in rates if rate.cpu_ms_per_pair is not None]
        used = statistics.median(cores) if cores else None
        baseline = self.report.baseline
        return Row(
            subject=subject,
            place=place,
            rate=median_interval(list(by_round.values())),
            by_round=by_round,
            ratio=None if subject == baseline else self.ratio(baseline, subject, place),
            cores_used=used,
            cpu_ms_per_pair=statistics.median(spent) if spent else None,
            bound_by=None if used is None else self._bound_by(used, place.threads),
        )

    def _bound_by(self, used: float, threads: int) -> str:
        if used >= NEARLY * self.cores:
            return "cores"
        return "threads" if used >= NEARLY * threads else "waiting"
