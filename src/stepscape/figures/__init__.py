"""Figures: each takes a dataset and returns a matplotlib figure, in a job or in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from stepscape.registry import Member

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure as Drawing

    from stepscape.study.run import Run


class Figure(Member):
    """The base of all figures."""

    kind: ClassVar[str] = "figure"

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        """What `run` must record: from each group of observables at least one."""
        return ()

    def draw(self, ds: xr.Dataset) -> Drawing:
        """Draws all runs of a dataset."""
        raise NotImplementedError
