"""The error of a request that cannot be carried out."""

from __future__ import annotations

from collections.abc import Iterable


class RequestError(ValueError):
    """A request cannot be carried out. mistakes: everything that is wrong with it, one line each."""

    def __init__(self, mistakes: Iterable[str]):
        self.mistakes = list(mistakes)
        super().__init__("\n".join(self.mistakes))
