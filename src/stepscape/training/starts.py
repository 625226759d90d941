"""Parameters that a run starts from when its study says so: another run's, or those of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stepscape.errors import Mistaken, StepscapeError
from stepscape.store.runfile import open_run
from stepscape.study.parameters import content_hash, flat_parameters, read_parameters

if TYPE_CHECKING:
    from stepscape.study.paths import Paths
    from stepscape.study.run import Run


def start_parameters(run: Run, paths: Paths) -> np.ndarray | None:
    """What `Problem.initial` needs besides the run.

    Args:
        run: the run.
        paths: where the runs and files that others start from lie.

    Returns:
        Parameters (P,) in the dtype of the run; None where it starts from model and seed.

    Raises:
        StepscapeError: the parent ended before that step, or what the run starts from is not there or is damaged.
    """
    if run.start is None:
        return None
    theta = _of_file(run, paths) if run.start.file else _of_parent(run, paths)
    if theta.shape != (run.parameter_count,):
        raise StepscapeError(f"it starts from {theta.size} parameters and has {run.parameter_count}")
    if not np.isfinite(theta).all():
        raise StepscapeError(f"it starts from {run.start}, where a parameter is not a finite {run.dtype} number")
    return theta


def _of_parent(run: Run, paths: Paths) -> np.ndarray:
    assert run.start is not None
    assert run.parent is not None
    path = paths.run(run.parent)
    if not path.exists():
        raise StepscapeError(f"{path}: its parent has no file; select its study too, and start Snakemake again")
    parent = open_run(path)
    status, updates, step = parent.attrs["status"], parent.attrs["updates"], run.start.step
    if "parameters" not in parent:
        raise StepscapeError(f"{path}: its parent keeps no parameters")
    kept = parent["parameters"]
    steps = parent["step" if kept.dims[0] == "step" else "parameters_step"].values
    (rows,) = np.nonzero(steps == step)
    if not len(rows):
        ended = status if status in ("diverged", "stopped") else "ended"
        raise StepscapeError(
            f"its parent {run.parent} {ended} after {updates} updates; it keeps no parameters at step {step}, from "
            "which this run would start: start from an earlier step, or exclude this run"
        )
    with np.errstate(over="ignore"):
        return kept.values[rows[0]].astype(run.dtype)


def _of_file(run: Run, paths: Paths) -> np.ndarray:
    assert run.start is not None
    assert run.start.file is not None
    path = paths.start(run.start.file)
    try:
        parameters = read_parameters(path, str(path))
        if content_hash(parameters) != run.start.file:
            raise StepscapeError(f"{path}: damaged (its content is not what its name says); delete it and start again")
        shapes = run.model.parameter_shapes(run.dataset.input_shape, run.dataset.outputs)
        return flat_parameters(parameters, shapes, run.dtype, str(path))
    except Mistaken as error:
        raise StepscapeError(str(error)) from None
