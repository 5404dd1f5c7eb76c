"""The error of a run that had to stop before its end."""


class StoppedError(Exception):
    """The run cannot continue; what was finished before is kept."""
