"""What a user can cause, said in one line. The command line turns these into a message and an exit code.

Exit codes: 2 for usage (an option or a recipe is wrong), 1 for a failure (a file, a disk, a run).
"""


class VICRegFastError(Exception):
    """A failure with a one-line message that names the file, option or value, and the mend."""

    exit_code = 1


class UsageError(VICRegFastError):
    """What was asked for cannot be: an unknown option, key or value."""

    exit_code = 2


class DataError(VICRegFastError):
    """A folder or an image cannot be used."""


class CheckpointError(VICRegFastError):
    """A checkpoint cannot be written, read or fitted to the recipe."""


class TrainingError(VICRegFastError):
    """A run stopped itself: a loss that is not finite, or embeddings that collapsed."""


class RankError(VICRegFastError):
    """The ranks of a run cannot reach each other, or one of them ended."""


class RecordError(VICRegFastError):
    """A record cannot be read, or two records cannot be compared."""


class BaselineError(RecordError):
    """What to compare with is missing, or cannot be compared with."""

    exit_code = 5


class BenchmarkError(VICRegFastError):
    """What was to be measured cannot be run."""

    exit_code = 4
