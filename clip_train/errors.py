"""What can go wrong by what is given: one tree of errors, each message one line that says what and where."""


class ClipTrainError(Exception):
    """Root of the errors that this package raises on purpose.

    Attributes:
        exit_code: What a command that ends in it returns.
    """

    exit_code = 1


class InputError(ClipTrainError, ValueError):
    """Something the user gave cannot be used."""

    exit_code = 2


class DivergedError(ClipTrainError, RuntimeError):
    """The loss is no longer a number."""


class DataError(ClipTrainError, RuntimeError):
    """The data of a run cannot be read: now, or so much of it that the run is not worth going on."""
