"""The error of all data."""


class DataError(ValueError):
    """The data are unavailable or cannot be used; the message says which and why."""
