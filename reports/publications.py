"""What has been published: the records in `reports/published`, folder by folder, each with what it is of.

A folder holds record files of one machine, or is a proof's, with its parts below it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from bench.record import Accuracy, Environment, read_records
from reports.dispatch import choose_kind
from reports.load import load_report
from reports.loader_load import load_loader_report
from reports.loader_summary import LoaderSummary
from reports.loss_load import load_loss_report
from reports.loss_summary import LossSummary, summarise_losses
from reports.proof_judge import Proof, judge_proof
from reports.record_kinds import record_kinds
from reports.summary import Summary, summarise
from vicreg_fast.errors import RecordError

FOLDER = Path(__file__).parent / "published"
Kind = Literal["losses", "loaders", "comparison", "accuracies"]
KINDS: dict[str, Kind] = {
    "a run of bench loss": "losses",
    "a run of bench loader": "loaders",
    "a comparison": "comparison",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class PublishedFile:
    """One record file."""

    path: Path
    kind: Kind
    environment: Environment

    @property
    def name(self) -> str:
        """Its folder and its own name."""
        return f"{self.path.parent.name}/{self.path.name}"

    @cached_property
    def losses(self) -> LossSummary:
        """Read once for both documents, as the two below: a bootstrap takes its time."""
        return summarise_losses(load_loss_report([self.path]))

    @cached_property
    def loaders(self) -> LoaderSummary:
        return LoaderSummary(load_loader_report([self.path]))

    @cached_property
    def comparison(self) -> Summary:
        return summarise(load_report([self.path]))

    @property
    def accuracies(self) -> tuple[Accuracy, ...]:
        records, _ = read_records(self.path)
        return tuple(record for record in records if isinstance(record, Accuracy))


@dataclass(frozen=True, kw_only=True, eq=False)
class Publications:
    folder: Path
    files: tuple[PublishedFile, ...]
    """Of the newest folder first, then by name."""

    @cached_property
    def proofs(self) -> tuple[Proof, ...]:
        """Those on a GPU, the newest first."""
        found = (judge_proof(folder) for folder in _folders(self.folder) if _is_proof(folder))
        return tuple(proof for proof in found if not proof.source.rehearsal)

    def newest(self, name: str) -> PublishedFile:
        """The newest record file of that name. Raises RecordError where there is none."""
        for file in self.files:
            if file.path.name == name:
                return file
        raise RecordError(f"{self.folder}: no folder holds {name}, which the README's numbers are made of")


def load_publications(folder: Path = FOLDER) -> Publications:
    """Everything that is published. Raises RecordError, in one line, for what cannot be read: nothing that is
    published is passed over."""
    files = [file for each in _folders(folder) if not _is_proof(each) for file in _files(each)]
    return Publications(folder=folder, files=tuple(files))


def environments_of(files: Sequence[PublishedFile]) -> dict[str, list[PublishedFile]]:
    """The files by the machine they were measured on, in words."""
    found: dict[str, list[PublishedFile]] = {}
    for file in files:
        found.setdefault(machine_name(file.environment), []).append(file)
    return found


def machine_name(environment: Environment) -> str:
    gpu = environment.gpu or "no GPU"
    return f"{environment.processor}, {environment.cores} cores, {gpu}"


def version_of(environment: Environment, package: str) -> str | None:
    """Of a package, or of the one whose name begins so: DALI's ends in its CUDA version."""
    found = [version for name, version in environment.versions.items() if name.startswith(package)]
    return environment.versions.get(package) or next(iter(found), None)


def _folders(folder: Path) -> list[Path]:
    return sorted((path for path in folder.iterdir() if path.is_dir()), reverse=True)


def _is_proof(folder: Path) -> bool:
    return "proof-plan" in record_kinds(folder)


def _files(folder: Path) -> Iterator[PublishedFile]:
    for path in sorted(folder.glob("*.jsonl")):
        records, problems = read_records(path)
        if problems:
            raise RecordError(f"{path.parent.name}: {problems[0]}; publish whole records only")
        environments = [record for record in records if isinstance(record, Environment)]
        if not environments:
            raise RecordError(f"{path}: no environment record; a number without its machine says nothing")
        yield PublishedFile(path=path, kind=_kind(path), environment=environments[0])


def _kind(path: Path) -> Kind:
    if "accuracy" in (kinds := record_kinds(path)) and "plan" not in kinds:
        return "accuracies"
    name = choose_kind([path]).name
    if name not in KINDS:
        raise RecordError(f"{path}: is {name}, which the published results have no place for")
    return KINDS[name]
