"""Where commands print to."""

from __future__ import annotations

from contextlib import suppress

import rich.console


class Console(rich.console.Console):
    """A console that falls silent where nobody reads it any more (`lengthscale run | head`).

    rich would end the process with exit code 1, which here says that something is a regression or invalid.
    """

    def on_broken_pipe(self) -> None:
        with suppress(SystemExit):
            super().on_broken_pipe()
