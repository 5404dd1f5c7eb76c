"""The error of a results folder that cannot be read or taken."""


class JournalError(Exception):
    """A results folder cannot be read or taken; the message says where and why."""
