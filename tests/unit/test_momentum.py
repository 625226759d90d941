"""Runs with and without momentum: twins at equal effective rates, claims and figure on losses that are known."""

from __future__ import annotations

from math import log
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from stepscape.analysis.momentum import effective_lr, sharpness_at_start, stability_gains, tuned, twins
from stepscape.analysis.verdicts import judge_study
from stepscape.claims.momentum_equivalent import MomentumEquivalent
from stepscape.claims.momentum_widens_stability import MomentumWidensStability
from stepscape.figures.momentum import Momentum
from stepscape.study.paths import Paths
from tests.factories import LEAST_SQUARES, collected, make_study

mpl.use("Agg")

RATES = [0.25 * 2**power for power in range(9)]
SEEDS = range(6)
BETA = 0.9


def dataset(shift: float = 0.0, gain: float = 1.0, jitter: float = 0.2, *, beta: float = BETA) -> xr.Dataset:
    """Losses at three steps: best at lr 2, unstable above 8; with momentum `shift` spreads higher and a wider range."""
    random = np.random.default_rng(0)
    level = random.standard_normal(len(SEEDS))
    level = (level - level.mean()) / level.std(ddof=1)
    rows = []
    for heavy in (False, True):
        for lr in RATES:
            for seed in SEEDS:
                away = abs(log(lr / 2))
                edge = 8.0 * (gain if heavy else 1.0)
                last = 0.1 * (1 + away) + 0.01 * level[seed]
                if heavy:
                    last += 0.01 * (shift + jitter * random.standard_normal())
                if lr > edge * 1.01:
                    last = 5.0
                rows.append((heavy, lr * (1 - beta if heavy else 1), seed, [1.0, last + 0.1, last]))
    heavy, lr, seed, losses = (np.asarray(column) for column in zip(*rows, strict=True))
    labels = {key: ("run", np.full(len(rows), key, object)) for key in ("model", "dataset", "loss", "budget")}
    return xr.Dataset(
        {
            "train_loss": (("run", "losses_measurement"), losses),
            "final_train_loss": ("run", losses[:, -1]),
            "status": ("run", np.full(len(rows), "completed", object)),
        },
        {
            "run": [f"{index:016x}" for index in range(len(rows))],
            **labels,
            "optimizer": ("run", np.where(heavy, "momentum", "gd").astype(object)),
            "optimizer_name": ("run", np.where(heavy, "heavy_ball", "gd").astype(object)),
            "optimizer_beta": ("run", np.where(heavy, beta, np.nan)),
            "lr": ("run", lr),
            "batch_size": ("run", np.full(len(rows), 8)),
            "full_batch": ("run", np.zeros(len(rows), bool)),
            "seed": ("run", seed),
            "losses_step": ("losses_measurement", [0, 64, 128]),
        },
        {"title": "Momentum"},
    )


def test_twins_are_of_one_effective_rate_and_share_seeds() -> None:
    ds = dataset()
    assert sorted(set(effective_lr(ds).tolist())) == RATES
    found = twins(ds)
    assert [(pair.beta, pair.batch_size, pair.lr) for pair in found] == [(BETA, 8, lr) for lr in RATES]
    assert tuned(found) == {8: 2.0}
    for pair in found:
        assert pair.plain.shape == pair.heavy.shape == (len(SEEDS), 3)
        runs = ds.isel(run=(ds.optimizer.values == "gd") & (ds.lr.values == pair.lr))
        np.testing.assert_array_equal(pair.plain, runs.train_loss.values)


def test_differences_are_in_spreads_of_the_plain_losses() -> None:
    (pair,) = (pair for pair in twins(dataset(shift=3.0, jitter=0.0)) if pair.lr == 2)
    for gap in pair.differences():
        assert gap.value == pytest.approx(3.0, rel=1e-9)
        assert gap.error == pytest.approx(0, abs=1e-9)
    assert len(pair.differences()) == 2, "step 0 is before the first update"


@pytest.mark.parametrize(
    ("shift", "jitter", "verdict"),
    [(0.0, 0.2, "supported"), (-2.0, 0.2, "not_supported"), (2.0, 0.2, "not_supported"), (0.5, 2.0, "undecided")],
)
def test_momentum_equivalent(shift: float, jitter: float, verdict: str) -> None:
    found = MomentumEquivalent().judge(dataset(shift, jitter=jitter))
    print(found)
    assert found.verdict == verdict
    assert found.reason == "largest at beta 0.9, batch size 8, effective lr 2"
    assert found.runs == {"twins": 1, "seeds": len(SEEDS)}


def test_a_twin_that_diverged_is_no_equal() -> None:
    ds = dataset()
    heavy = (ds.optimizer.values == "momentum") & (effective_lr(ds) == 2)
    ds["train_loss"] = ds.train_loss.where(~xr.DataArray(heavy, dims="run") | (ds.losses_step == 0), np.nan)
    assert MomentumEquivalent().judge(ds).verdict == "not_supported"


@pytest.mark.parametrize(("gain", "verdict"), [(4.0, "supported"), (1.0, "not_supported")])
def test_momentum_widens_stability(gain: float, verdict: str) -> None:
    """The edge is read between two rates of the grid, in the same way with and without momentum."""
    found = MomentumWidensStability().judge(dataset(gain=gain))
    print(found)
    assert found.verdict == verdict
    assert found.value == pytest.approx(gain, rel=0.1), "a grid of factors of two, read on a straight line"
    assert found.reason == "on a quadratic 19"


def test_what_cannot_be_judged_is_told() -> None:
    beyond = MomentumWidensStability().judge(dataset(gain=100.0))
    assert beyond.reason == "a largest stable learning rate lies beyond the grid"
    plain = dataset().isel(run=dataset().optimizer.values == "gd")
    assert MomentumWidensStability().judge(plain).reason.startswith("0 pairs")
    assert "with and without momentum" in MomentumEquivalent().judge(plain).reason
    ds = dataset()
    mixed = ds.assign_coords(loss=("run", np.where(ds.seed.values == 0, "mse", "cross_entropy").astype(object)))
    for claim in (MomentumEquivalent(), MomentumWidensStability()):
        assert "narrow `where`" in claim.judge(mixed).reason


def test_on_a_quadratic_the_factor_is_that_of_the_thresholds(tmp_path: Any) -> None:
    """1.9 / 0.1 = 19 for beta 0.9: thresholds of the full batch with the largest eigenvalue 1."""
    fine, slow = ({"geometric": [least, 60 * least], "factor": 1.05} for least in (1.0, 0.1))
    study = make_study(
        tmp_path,
        defaults={**{key: value for key, value in LEAST_SQUARES.items() if key != "lr"}, "budget": {"steps": 2000}},
        grid=[
            {"lr": fine, "seed": [0, 1]},
            {"optimizer": {"name": "heavy_ball", "beta": 0.9}, "lr": slow, "seed": [0, 1]},
        ],
        observe={"losses": {"every": 1000}, "hessian_top": {"at": [0]}},
        claims=["momentum_widens_stability"],
    )  # fmt: skip
    ds = collected(study, Paths(tmp_path / "results"))
    (told,) = judge_study(study, ds)
    assert told["value"] == pytest.approx(19, rel=0.05)
    assert set(sharpness_at_start(ds)) == {0, 1}
    assert list(sharpness_at_start(ds).values()) == pytest.approx([1, 1], rel=1e-3)
    assert list(stability_gains(ds)) == [(ds.batch_size.values[0], 0.9)]


def test_the_figure_holds_medians_and_ratios() -> None:
    ds = dataset(shift=2.0)
    drawing = Momentum().draw(ds)
    losses, ratios = drawing.axes
    found = twins(ds)
    (best,) = (pair for pair in found if pair.lr == 2)
    lines = {line.get_label(): np.asarray(line.get_ydata()) for line in losses.get_lines()}
    np.testing.assert_allclose(lines["without momentum"], np.median(best.plain, axis=0))
    np.testing.assert_allclose(lines["beta 0.9"], np.median(best.heavy, axis=0))
    drawn = np.asarray(ratios.get_lines()[0].get_xydata(), dtype=float)
    expected = [(pair.lr, np.median(pair.heavy[:, -1] / pair.plain[:, -1])) for pair in found]
    np.testing.assert_allclose(drawn, expected)
    plt.close(drawing)
