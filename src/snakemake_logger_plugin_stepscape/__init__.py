"""Snakemake's logger plugin `stepscape`: progress in runs instead of the text of every job.

With `--verbose` or `--debug-dag` Snakemake's own output is left as it is; `--workflow-profile none` goes without the
plugin altogether.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TYPE_CHECKING

from snakemake_interface_logger_plugins.base import LogHandlerBase

if TYPE_CHECKING:
    from stepscape.progress.display import Display


class LogHandler(LogHandlerBase):
    """Hands Snakemake's records to a `stepscape.progress` display; it never raises into Snakemake.

    Snakemake calls it from one thread of its own, which an exception would end together with all further output.
    """

    def __post_init__(self) -> None:
        """Makes the display, unless Snakemake's own output is wanted."""
        self._display: Display | None = None if self._leaves_output_alone else self._make_display()

    @property
    def _leaves_output_alone(self) -> bool:
        return self.common_settings.verbose or self.common_settings.debug_dag

    def _make_display(self) -> Display:
        from stepscape.progress.display import Display, Options
        from stepscape.progress.screen import choose_screen

        settings = self.common_settings
        options = Options(
            dryrun=settings.dryrun,
            quiet=frozenset(kind.name.lower() for kind in settings.quiet or ()),
            shell_commands=settings.printshellcmds,
            whole_logs=settings.show_failed_logs,
        )
        out = sys.stdout if settings.stdout else sys.stderr
        return Display(choose_screen(out, sys.stderr, color=not settings.nocolor), options)

    def emit(self, record: logging.LogRecord) -> None:
        """Shows one record, or what is known of it where that fails."""
        if self._display is None:
            return
        try:
            self._display.handle(record, self.format)
        except BrokenPipeError:  # nobody reads any more, as in `snakemake 2>&1 | head`
            pass
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Ends the display; Snakemake calls this once all records are handled."""
        with contextlib.suppress(Exception):
            if self._display is not None:
                self._display.close()
        super().close()

    @property
    def writes_to_stream(self) -> bool:
        """Whether Snakemake's own output is replaced."""
        return not self._leaves_output_alone

    @property
    def writes_to_file(self) -> bool:
        """False: Snakemake keeps its own log under `.snakemake/log`."""
        return False

    @property
    def has_filter(self) -> bool:
        """True: Snakemake's filter would drop the errors of jobs with `--quiet`."""
        return True

    @property
    def has_formatter(self) -> bool:
        """False: what is not about progress is written in Snakemake's own format."""
        return False

    @property
    def needs_rulegraph(self) -> bool:
        """False."""
        return False
