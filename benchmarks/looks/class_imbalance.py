"""The numbers of config/studies/class_imbalance.md: by learning rate, by draw, off the grid.

Run from the repository's root as `python -m benchmarks.looks.class_imbalance`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import xarray as xr

from benchmarks.looks import listed, look, opened, span
from stepscape.analysis.class_groups import at_end, best_runs, group_losses, log_correlation, pairs
from stepscape.analysis.crossings import rank_correlation
from stepscape.study.paths import Paths

STUDIES = ("class_imbalance", "class_imbalance_looks")
GROUPS = 7
Measure = Callable[[xr.Dataset], list[float]]
RARE = {"model": "linear", "dataset_exponent": 1.0}
BALANCED = {"model": "linear", "dataset_exponent": 0.0}


def lines(paths: Paths) -> Iterator[str]:
    """What the page says, in its order."""
    ds, off_grid = (opened(paths, study) for study in STUDIES)
    text, linear = ds.stepscape.runs(model="transformer"), ds.stepscape.runs(**RARE)
    yield "A transformer on a text: rank correlation of loss and rarity"
    yield from by_rate(text.stepscape.runs(optimizer="adam"), "Adam")
    yield from at_best(text.stepscape.runs(optimizer="gd"), "gradient descent")
    yield from groups_at_best(text.stepscape.runs(optimizer="gd"), "gradient descent")
    yield from by_rate(text.stepscape.runs(optimizer="gd"), "gradient descent")
    yield f"  share of the most frequent character: {span(np.nanmax(at_end(text, 'class_share'), axis=1))}"
    yield "Gradient descent on the linear model: rank correlation of loss and rarity"
    yield from by_rate(linear.stepscape.runs(optimizer="gd"), "on the grid")
    yield from at_best(linear.stepscape.runs(optimizer="gd"), "on the grid")
    yield from by_rate(off_grid.stepscape.runs(lr=[0.45, 0.6]), "between")
    yield "Momentum: rank correlation of loss and rarity, then losses of groups, means over draws"
    yield from by_rate(linear.stepscape.runs(optimizer="heavy_ball"), "heavy ball")
    yield from at_best(linear.stepscape.runs(optimizer="heavy_ball"), "heavy ball")
    yield from more_steps(linear.stepscape.runs(lr=0.316), off_grid.stepscape.runs(lr=0.316))
    yield "Balanced classes: largest over smallest group, less 1, of means over draws"
    yield from alike(ds.stepscape.runs(**BALANCED), "on the grid")
    yield from alike(off_grid.stepscape.runs(lr=100), "beyond")
    yield "Sign descent and Adam: distance in log loss to Adam over that to gradient descent"
    yield from distances(linear)
    yield "Gradient and curvature: correlation of the logs over classes"
    for model, runs in (("linear", linear), ("network", ds.stepscape.runs(model="mlp")), ("transformer", text)):
        for optimizer in dict.fromkeys(runs.optimizer.values):
            yield from at_best(runs.stepscape.runs(optimizer=optimizer), f"{model}, {optimizer}", curvature)
    yield from by_rate(linear.stepscape.runs(optimizer="gd"), "linear, gradient descent", curvature)


def rarity(ds: xr.Dataset) -> list[float]:
    """Rank correlation of a group's final loss with how rare its classes are, one a run; NaN where it diverged."""
    losses = group_losses(ds, range(ds.sizes["run"]), GROUPS)
    return [rank_correlation(np.arange(GROUPS)[np.isfinite(row)], row[np.isfinite(row)]) for row in losses]


def curvature(ds: xr.Dataset) -> list[float]:
    """Correlation over classes of log gradient norm and log trace of the Hessian block, one a run."""
    held = at_end(ds, "class_share") > 0
    norms, traces = (np.where(held, at_end(ds, f"class_{name}"), np.nan) for name in ("gradient_norm", "hessian_trace"))
    return [log_correlation(*row) for row in zip(norms, traces, strict=True)]


def by_rate(ds: xr.Dataset, words: str, measure: Measure = rarity) -> Iterator[str]:
    """A line a learning rate: final losses, and what is measured, a number a draw."""
    for lr in sorted(set(ds.lr.values)):
        runs = ds.stepscape.runs(lr=lr)
        yield f"  {words}, lr {lr:g}: {listed(measure(runs))}; loss {span(runs.final_train_loss.values)}"


def at_best(ds: xr.Dataset, words: str, measure: Measure = rarity) -> Iterator[str]:
    """What is measured at the best learning rate, a number a draw."""
    best = ds.isel(run=[each.run for each in best_runs(ds)])
    yield f"  {words}, at the best lr of each draw ({listed(best.lr.values, 3)}): {listed(measure(best))}"


def groups_at_best(ds: xr.Dataset, words: str) -> Iterator[str]:
    """A line a draw: losses at the best learning rate from frequent to rare, nan for a group without classes."""
    for best in best_runs(ds):
        losses = group_losses(ds, [best.run], GROUPS)[0]
        yield f"  {words}, lr {ds.lr.values[best.run]:g}: losses from frequent to rare {listed(losses)}"


def more_steps(ds: xr.Dataset, longer: xr.Dataset) -> Iterator[str]:
    """Losses of groups, means over draws: momentum, then gradient descent after more and more steps."""

    def means(runs: xr.Dataset) -> str:
        return listed(group_losses(runs, range(runs.sizes["run"]), GROUPS).mean(axis=0))

    for optimizer in ("heavy_ball", "gd"):
        runs = ds.stepscape.runs(optimizer=optimizer)
        yield f"  {optimizer} at 0.316, {runs.n_steps.values.max()} steps: {means(runs)}"
    measured = np.isfinite(longer.class_loss.values).any(axis=(0, 2))
    for step in longer.per_class_step.values[measured][1:]:
        until = longer.isel(per_class_measurement=longer.per_class_step.values <= step)
        yield f"  gd at 0.316, {step} steps: {means(until)}"


def alike(ds: xr.Dataset, words: str) -> Iterator[str]:
    """A line a learning rate: how far apart groups are in the mean and in single draws, and their order."""
    for lr in sorted(set(ds.lr.values)):
        runs = ds.stepscape.runs(lr=lr)
        losses = group_losses(runs, range(runs.sizes["run"]), GROUPS)
        of_means, of_draws = (each.max(axis=-1) / each.min(axis=-1) - 1 for each in (losses.mean(axis=0), losses))
        yield (
            f"  {words}, lr {lr:g}: {of_means:.1%}, in single draws up to {of_draws.max():.2g}; rank correlation "
            f"{listed(rarity(runs))}; loss {span(runs.final_train_loss.values)}"
        )


def distances(ds: xr.Dataset) -> Iterator[str]:
    """The ratio of the two distances, the best learning rate of Adam, and its losses there, a draw after the other."""
    near, far = pairs(ds, "sign_descent", "adam"), pairs(ds, "sign_descent", "gd")
    sides = ([own for own, _ in near], [other for _, other in near], [other for _, other in far])
    own, adam, descent = (np.log(group_losses(ds, [each.run for each in side], GROUPS)) for side in sides)
    to_adam, to_descent = (np.sqrt(((own - other) ** 2).mean(axis=1)) for other in (adam, descent))
    for ratio, (_, best), losses in zip(to_adam / to_descent, near, np.exp(adam), strict=True):
        lr = ds.lr.values[best.run]
        yield f"  {ratio:.2g}; Adam's best lr {lr:.3g}, losses from frequent to rare {listed(losses)}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the lines."""
    look(STUDIES[0], lines, arguments)


if __name__ == "__main__":
    main()
