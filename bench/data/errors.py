"""The one error of all data."""


class DataError(ValueError):
    """The data cannot be had or used; the message says which and why."""
