"""What can go wrong, as one family: catch `EarmarkError` and print it, it is one line meant for a person."""


class EarmarkError(Exception):
    """Root of all errors that earmark raises on purpose; its text says what was expected, what came, what to do."""


class AudioError(EarmarkError):
    """A recording that cannot be read, or that holds no sound that could be tagged."""


class DataError(EarmarkError):
    """A data set that is empty, unlabelled, contradictory or not where it was said to be."""


class CheckpointError(EarmarkError):
    """A file that is not an earmark checkpoint, or not one that this version can read."""


class ConfigError(EarmarkError, ValueError):
    """A setting outside what it can be."""


class EarmarkWarning(UserWarning):
    """Something that is likely a mistake but may be meant; the command line prints it as a note."""
