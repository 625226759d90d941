"""What label noise does to the curvature."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from stepscape.figures import Figure
from stepscape.registry import member

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    import numpy as np
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from stepscape.analysis.label_noise import NoisePath
    from stepscape.study.run import Run


@member("label_noise", source="Damian, Ma & Lee, arXiv:2106.06530")
class LabelNoise(Figure):
    """Trace of the Hessian over its start, against steps and lambda t; the training loss against lambda R.

    Lines are means over seeds, one a configuration; the darker, the larger the learning rate. Steps begin with the
    first measurement behind the start. In the middle, curves of different noise, batches and learning rates collapse
    where the learning rate is small. On the right each point is the mean loss of a configuration between two
    measurements against the mean R of both: near the dashed line the loss is lambda R, which the noise keeps up where
    all eigenvalues are far below the threshold. Runs without noise are grey, on the left only.
    """

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        return (("hessian_spectrum",), ("losses",))

    def draw(self, ds: xr.Dataset) -> Drawing:
        import matplotlib.pyplot as plt
        import numpy as np

        from stepscape.analysis.label_noise import noise_paths
        from stepscape.figures._style import blank, finish, head, style

        groups = _groups(noise_paths(ds))
        if not groups:
            return blank(ds, "no run has a known weight of R", "steps", "tr H over its start")
        looks = _looks(ds, groups)
        with style():
            figure, axes = plt.subplots(1, 3, figsize=(13, 4.8))
            for paths, (label, color, line) in zip(groups.values(), looks, strict=True):
                ratio = np.mean([path.trace / path.trace[0] for path in paths], axis=0)
                axes[0].plot(paths[0].steps[1:], ratio[1:], color=color, linestyle=line, label=label)
                if paths[0].weight > 0:
                    axes[1].plot(paths[0].time, ratio, color=color, linestyle=line)
                    axes[2].plot(*_losses(ds, paths), "o", color=color, markersize=3)
            axes[0].set(xscale="log", ylim=(0, None))
            axes[1].set(ylim=(0, None))
            _draw_identity(axes[2])
            finish(axes, "steps", "tr H over its start, mean over seeds")
            axes[1].set_xlabel("lambda t")
            axes[2].set(xlabel="lambda R", ylabel="training loss")
            figure.legend(loc="outside lower center", ncols=3)
            explanation = "lambda = lr std^2 / (B (1 - beta)), t = lr steps / (1 - beta); dashed on the right: equal"
            head(figure, ds.attrs.get("title", "Label noise"), explanation)
        return figure


def _groups(paths: Sequence[NoisePath]) -> dict[Hashable, list[NoisePath]]:
    """Paths of each configuration, alike in their measurements: those that ended before the others are left out."""
    found: dict[Hashable, list[NoisePath]] = {}
    for path in paths:
        found.setdefault(path.group, []).append(path)
    return {
        group: [path for path in held if len(path.steps) == max(len(other.steps) for other in held)]
        for group, held in found.items()
    }


def _looks(
    ds: xr.Dataset, groups: dict[Hashable, list[NoisePath]]
) -> list[tuple[str, tuple[float, float, float] | str, str | tuple[int, tuple[int, ...]]]]:
    """Label, colour and dashes of each configuration; dashes tell those of one learning rate and noise apart."""
    from stepscape.figures._style import ordered_colors

    lines: list[str | tuple[int, tuple[int, ...]]] = ["-", "--", ":", "-.", (0, (1, 3)), (0, (5, 1, 1, 1, 1, 1))]
    rates = [float(ds.lr.values[paths[0].run]) for paths in groups.values()]
    colors = ordered_colors(sorted(set(rates)))
    seen: list[float] = []
    looks = []
    for paths, rate in zip(groups.values(), rates, strict=True):
        noisy = paths[0].weight > 0
        line = lines[seen.count(rate) % len(lines)] if noisy else "-"
        seen += [rate] if noisy else []
        looks.append((_label(ds, paths[0].run), colors[rate] if noisy else "0.6", line))
    return looks


def _label(ds: xr.Dataset, run: int) -> str:
    """What is said of a configuration: lr, batch, and what of the optimizer varies and is not 0."""
    import numpy as np

    told = {name: ds[f"optimizer_{name}"].values for name in ("beta", "std", "law") if f"optimizer_{name}" in ds.coords}
    fields = [f"{name} {value[run]:.3g}" for name, value in told.items() if name != "law" and value[run]]
    laws = [str(told["law"][run])] if len(set(told.get("law", ()))) > 1 else []
    batch = "full batch" if bool(ds.full_batch.values[run]) else f"batch {int(ds.batch_size.values[run])}"
    noise = [*fields, *laws] if told.get("std", np.ones(run + 1))[run] else ["no noise"]
    return ", ".join([f"lr {float(ds.lr.values[run]):g}", batch, *noise])


def _losses(ds: xr.Dataset, paths: Sequence[NoisePath]) -> tuple[np.ndarray, np.ndarray]:
    """Weight times R, and the mean training loss, between successive measurements, means over seeds, (n - 1,) each."""
    import numpy as np

    from stepscape.analysis.clocks import clock_of

    clock = clock_of(ds, "train_loss")
    steps = paths[0].steps
    regularisers = np.array([path.weight * path.regulariser for path in paths])
    between = [(clock > first) & (clock <= last) for first, last in pairwise(steps)]
    losses = ds.train_loss.values[[path.run for path in paths]].astype(float)
    means = [losses[:, chosen].mean() if chosen.any() else np.nan for chosen in between]
    middle = ((regularisers[:, 1:] + regularisers[:, :-1]) / 2).mean(axis=0)
    return middle, np.array(means)


def _draw_identity(ax: Axes) -> None:
    from matplotlib.ticker import NullFormatter

    if ax.has_data():
        ax.set(xscale="log", yscale="log")
        ends = [min(ax.get_xlim()[0], ax.get_ylim()[0]), max(ax.get_xlim()[1], ax.get_ylim()[1])]
        ax.autoscale(False)
        ax.plot(ends, ends, color="black", linestyle="--", linewidth=1)
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.yaxis.set_minor_formatter(NullFormatter())
