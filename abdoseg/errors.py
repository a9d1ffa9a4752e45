"""Every way a run can end badly, and the exit code each one has.

    AbdosegError                  1   never raised itself
    ├── UsageError                2   the command line asks for something that cannot be
    ├── ScanError                 3   a scan cannot be read, or is not a CT that can be used
    │   └── SeriesError           3   a DICOM folder holds no usable series, or too many
    ├── GeometryError             6   two grids that should agree do not
    ├── ModelError                7   weights are missing, damaged or do not fit
    ├── OutputError               8   a result cannot be written, or is there already
    │   └── OvertakenError        8   another run has written a case's results since this one began
    ├── DatasetError              9   training or evaluation data is incomplete or inconsistent
    ├── ResourceError            10   memory, disk or device are not enough
    ├── TrainingError            11   training cannot go on
    └── MissingPredictionError   12   evaluation is complete, but a truth had no prediction

0 is success, 4 and 5 are the verdicts `review` and `unusable` of `abdoseg check`, 130 an interrupt.
A message has the subject, the fact with its numbers, and what to do about it. It never holds patient data.
"""


class AbdosegError(Exception):
    """Base of every error that is the input's or the environment's, not a bug."""

    exit_code = 1


class UsageError(AbdosegError):
    """The command line asks for something that cannot be."""

    exit_code = 2


class ScanError(AbdosegError):
    """A scan cannot be read, or is not a CT that can be used."""

    exit_code = 3


class SeriesError(ScanError):
    """A DICOM folder holds no usable CT series, or several between which the user must choose."""


class GeometryError(AbdosegError):
    """Two grids that should agree do not, or a grid is impossible."""

    exit_code = 6


class ModelError(AbdosegError):
    """Weights are missing, damaged, or do not fit what is asked of them."""

    exit_code = 7


class OutputError(AbdosegError):
    """A result cannot be written, or stands there already."""

    exit_code = 8


class OvertakenError(OutputError):
    """Another run has written a case's results since this one began."""


class DatasetError(AbdosegError):
    """Training or evaluation data is incomplete or inconsistent."""

    exit_code = 9


class ResourceError(AbdosegError):
    """Memory, disk or the device are not enough for what is asked."""

    exit_code = 10


class TrainingError(AbdosegError):
    """Training cannot go on."""

    exit_code = 11


class MissingPredictionError(AbdosegError):
    """Evaluation is complete, but at least one truth had no prediction and counted as 0."""

    exit_code = 12
