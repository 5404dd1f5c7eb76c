"""The console that commands print to."""

from __future__ import annotations

from contextlib import suppress

import rich.console


class Console(rich.console.Console):
    """A console that prints nothing more once its reader has gone (`lengthscale run | head`).

    rich would end the process with exit code 1, which here means a regression or something invalid.
    """

    def on_broken_pipe(self) -> None:
        with suppress(SystemExit):
            super().on_broken_pipe()
