"""The error of a run that had to stop."""


class StoppedError(Exception):
    """The run could not go on; what was finished before is kept."""
