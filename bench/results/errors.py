"""The error of a results folder that cannot be read or used."""


class JournalError(Exception):
    """A results folder cannot be read, or another process uses it; the message says where and why."""
