"""The error of a request that cannot be carried out as it stands."""

from __future__ import annotations

from collections.abc import Iterable


class RequestError(ValueError):
    """Everything that is wrong with a request, a line each."""

    def __init__(self, mistakes: Iterable[str]):
        self.mistakes = list(mistakes)
        super().__init__("\n".join(self.mistakes))
