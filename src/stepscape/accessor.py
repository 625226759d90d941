"""What one asks of a study's dataset: `ds.stepscape`, on every dataset that `open_study` has opened."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from stepscape.errors import StepscapeError, listed, nearest

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

AXES = ("model", "lr", "batch_size", "seed")
"""The axes of a dense array."""


@xr.register_dataset_accessor("stepscape")
class Asking:
    """Selections of runs by their axes.

    Args:
        ds: the dataset of a study.
    """

    def __init__(self, ds: xr.Dataset) -> None:
        self._ds = ds

    def runs(self, **wanted: Any) -> xr.Dataset:
        """The runs whose every named coordinate has one of the given values, such as `lr=0.4, optimizer=["gd"]`.

        Args:
            **wanted: a coordinate on `run` to a value or a list of values; numbers agree to 9 digits.

        Returns:
            Those runs, in their order; trajectories are still read when they are used.

        Raises:
            StepscapeError: there is no such coordinate, or no run has these values.
        """
        picked = np.ones(self._ds.sizes["run"], bool)
        for name, values in wanted.items():
            picked &= self._matches(name, values)
        if not picked.any():
            raise StepscapeError(f"no run has {wanted!r}; {self._found(wanted)}")
        return self._ds.isel(run=_shortest(np.flatnonzero(picked)))

    def draw(self, figure: str, **fields: Any) -> Drawing:
        """A figure of these runs, such as `ds.stepscape.runs(loss="mse").stepscape.draw("loss_curves", window=5)`.

        Args:
            figure: its name, one of `stepscape list figure`.
            **fields: its fields.

        Returns:
            A matplotlib figure, which notebooks show.

        Raises:
            StepscapeError: there is no such figure, or its fields are wrong.
        """
        from stepscape.figures import Figure
        from stepscape.registry import make

        member = make("figure", {"name": figure, **fields}, figure)
        assert isinstance(member, Figure)
        return member.draw(self._ds.compute())

    def _matches(self, name: str, values: Any) -> np.ndarray:
        held = self._on_run(name)
        given = values if isinstance(values, Collection) and not isinstance(values, str) else [values]
        matches = np.zeros(len(held), bool)
        for value in given:
            is_number = held.dtype.kind == "f" and isinstance(value, int | float)
            matches |= np.isclose(held, value, rtol=1e-9, atol=0) if is_number else held == value
        return matches

    def _on_run(self, name: str) -> np.ndarray:
        known = [str(other) for other, value in self._ds.coords.items() if value.dims == ("run",)]
        if name not in known:
            remedy = nearest(name, known)
            raise StepscapeError(f"{name!r} is no coordinate on `run`; allowed: {listed(known)}. {remedy}".rstrip())
        return self._ds[name].values

    def _found(self, names: Collection[str]) -> str:
        return "; ".join(f"{name}: {listed(map(str, np.unique(self._on_run(name))[:20]))}" for name in names)

    def dense(self, name: str, **wanted: Any) -> xr.DataArray:
        """A value of every run on the axes of the grid, such as `dense("final_train_loss", optimizer="gd")`.

        Args:
            name: a variable on `run`.
            **wanted: which runs, as for `runs`.

        Returns:
            (model, lr, batch_size, seed); NaN where the grid has no run.

        Raises:
            StepscapeError: there is no such variable, or several runs have the same place, since they differ in
                another axis.
        """
        known = [str(other) for other, value in self._ds.data_vars.items() if value.dims == ("run",)]
        if name not in known:
            remedy = nearest(name, known)
            raise StepscapeError(f"{name!r} is no variable on `run`; allowed: {listed(known)}. {remedy}".rstrip())
        runs = self.runs(**wanted) if wanted else self._ds
        levels = [np.unique(runs[axis].values, return_inverse=True) for axis in AXES]
        shape = tuple(len(labels) for labels, _ in levels)
        places = np.ravel_multi_index([codes for _, codes in levels], shape)
        if len(np.unique(places)) < len(places):
            raise StepscapeError(_ambiguous(runs))
        given = runs[name]
        values = np.full(shape, np.nan, np.result_type(given.dtype, np.float16))
        values.flat[places] = given.values
        return xr.DataArray(values, [labels for labels, _ in levels], AXES, name, given.attrs)

    def last(self, name: str) -> xr.DataArray:
        """The last measurement of every run, such as `last("hessian_eigenvalue")`, the last sharpness.

        Args:
            name: a variable on `run` and on a clock.

        Returns:
            (run,), of several eigenvalues the first; NaN where a run measured none.

        Raises:
            StepscapeError: its last measurements are not in the dataset.
        """
        final = f"final_{name}"
        if final not in self._ds:
            known = [str(other).removeprefix("final_") for other in self._ds if str(other).startswith("final_")]
            raise StepscapeError(
                f"no last measurement of {name!r}; allowed: {listed(known)}. {nearest(name, known)}".rstrip()
            )
        return self._ds[final].load()


def _shortest(indices: np.ndarray) -> np.ndarray | slice:
    """Consecutive indices as a slice, which reads whole rows of chunks at once."""
    first, last = indices[0], indices[-1]
    return slice(first, last + 1) if last - first + 1 == len(indices) else indices


def _ambiguous(runs: xr.Dataset) -> str:
    on_run = {str(name): value.values for name, value in runs.coords.items() if value.dims == ("run",)}
    others = {name: np.unique(values) for name, values in on_run.items() if name not in (*AXES, "run")}
    varying = [f"{name} ({listed(map(str, values[:8]))})" for name, values in others.items() if len(values) > 1]
    return f"several runs have one model, lr, batch_size and seed; name one value of: {', '.join(varying) or 'nothing'}"
