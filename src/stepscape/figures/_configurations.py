"""Configurations in a figure: which run stands for each, and what it is called."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

_ROLES = ("optimizer", "model", "dataset", "loss", "schedule")


def run_title(ds: xr.Dataset, index: int, but: Collection[str] = ()) -> str:
    """What tells a run from others than its seeds, and where it diverged.

    Args:
        ds: the runs of the figure.
        index: the run among them.
        but: coordinates that are left out.

    Returns:
        Words, such as "gd, learning rate 0.1".
    """
    from stepscape.analysis.grouping import differing

    fields = tuple(f"{role}_" for role in _ROLES)  # labels of members say these
    others = [key for key in differing(ds, {"lr", "full_batch", *but}) if not key.startswith(fields)]
    run = ds.isel(run=index)
    words = [str(run[role].values) for role in _ROLES if role == "optimizer" or role in others]
    words += [f"learning rate {lr:g}" for lr in [run.lr.item()] if lr == lr]  # some optimizers have none
    words += [f"{key.replace('_', ' ')} {run[key].item()}" for key in others if key not in _ROLES]
    if run.status.item() == "diverged":
        words.append(f"diverged at step {int(run.n_steps)}")
    return ", ".join(words)


def lowest_seeds(ds: xr.Dataset, measured: np.ndarray, most: int) -> list[int]:
    """The run of the lowest seed of each configuration, in the order of the dataset.

    Args:
        ds: the runs of the figure.
        measured: which of them may stand for their configuration, (run,).
        most: how many configurations at most; of more, some spread evenly.

    Returns:
        Indices of runs.
    """
    import numpy as np

    from stepscape.analysis.grouping import configurations

    lowest: dict[tuple[object, ...], int] = {}
    groups = configurations(ds)
    for index in np.argsort(ds.seed.values, kind="stable").tolist():
        if measured[index]:
            lowest.setdefault(groups[index], index)
    found = sorted(lowest.values())
    spread = np.linspace(0, len(found) - 1, min(most, len(found))).round().astype(int)
    return [found[place] for place in spread]
