"""Which momentum flattens fastest: the settling time, its least, its powers of the learning rate, claims and figure."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import exp, inf
from typing import Any

import numpy as np
import pytest
import xarray as xr

from stepscape.analysis.settling import fastest_dampings, fastest_momenta, line, settled, settling_step, settling_times
from stepscape.claims import Claim
from stepscape.figures.settling_time import SettlingTime
from stepscape.registry import make
from tests.factories import LEAST_SQUARES, make_run

NOISY = {"name": "label_noise_sgd", "std": 0.1}
RATES = [2.0**-power for power in range(5, 11)]
DAMPINGS = [10 ** (-index / 5) for index in range(16)]
SEEDS = [0, 1, 2]
END = 1e5


def claim(name: str, **fields: Any) -> Any:
    made = make("claim", {"name": name, **fields}, name)
    assert isinstance(made, Claim)
    return made


def two_times(lr: float, damping: float) -> float:
    """The theory: a drift of (1 - beta)^2 / lr^2 updates, and a velocity that takes 1 / (1 - beta) to calm down."""
    return damping**2 / lr**2 + 2 / damping  # least at 1 - beta = lr^(2/3), which is 3 lr^(-2/3)


def study(
    times: Callable[[float, float], float] = two_times,
    rates: list[float] = RATES,
    dampings: list[float] = DAMPINGS,
    tested: Callable[[float], float] = lambda damping: 0.2,
    end: float = END,
) -> xr.Dataset:
    """A dataset as collected: tr G is 8 and falls through 0.3 of that at `times`, times 1.02, 1 and 0.98 by seed."""
    rows = list(product(rates, dampings, SEEDS))
    at = np.array([times(lr, damping) * (1.02 - 0.02 * seed) for lr, damping, seed in rows])
    clock = np.concatenate([[0.0], np.geomspace(1, end, 600)])
    with np.errstate(over="ignore", divide="ignore"):
        trace = np.where(np.isfinite(at)[:, None], 8 * 0.3 ** (clock[None, :] / at[:, None]), np.nan)
    trace[:, 0] = 8
    on_clock = ("run", "gauss_newton_trace_measurement")
    losses = np.repeat([[tested(damping)] for _, damping, _ in rows], len(clock), axis=1)
    return xr.Dataset(
        {
            "gauss_newton_trace": (on_clock, trace),
            "test_loss": (("run", "losses_measurement"), losses),
            "status": ("run", np.where(np.isfinite(at), "completed", "diverged").astype(object)),
        },
        {
            "run": np.asarray([f"{index:016x}" for index in range(len(rows))], object),
            "optimizer": ("run", np.full(len(rows), "label_noise_sgd", object)),
            "optimizer_beta": ("run", np.array([1 - damping for _, damping, _ in rows])),
            "lr": ("run", np.array([lr for lr, _, _ in rows])),
            "seed": ("run", np.array([seed for _, _, seed in rows])),
            "budget": ("run", np.full(len(rows), "100 steps", object)),
            "gauss_newton_trace_step": ("gauss_newton_trace_measurement", clock),
            "losses_step": ("losses_measurement", clock),
        },
    )


# ---------------------------------------------------------------------------------------------------- the settling time


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([4, 3, 2, 1], 10 + 10 * 0.5),  # 2.5 lies in the middle between 3 and 2
        ([4, 1, 4, 2], 20 + 10 * 0.75),  # once is not for good
        ([4, 3, 2, 3], inf),
        ([4, 3, 2, np.nan], inf),
        ([4, np.nan, 2, 1], inf),  # nobody knows when
        ([2, 2, 2, 2], 0),
        ([4, 2.5, 2.5, 2.5], 10),
    ],
)
def test_settled_is_what_stays_below(values: list[float], expected: float) -> None:
    assert settling_step([0, 10, 20, 30], values, 2.5) == expected


def test_clocks_of_several_lengths_are_read_each_by_itself() -> None:
    ds = study(rates=[0.1], dampings=[0.5], tested=lambda damping: damping)
    trace = ds.gauss_newton_trace.values
    trace[0, 1::2] = np.nan  # measured half as often
    found, expected = settled(ds, 0.3), [two_times(0.1, 0.5) * (1.02 - 0.02 * seed) for seed in SEEDS]
    assert [run.steps for run in found] == pytest.approx(expected, rel=2e-3)
    assert [run.test_loss for run in found] == [0.5] * 3


def test_the_test_loss_is_that_at_the_first_measurement_of_the_settled_trace() -> None:
    ds = study(rates=[0.1], dampings=[0.5])
    ds.test_loss.values[:] = ds.losses_step.values
    clock = ds.losses_step.values
    for run in settled(ds, 0.3):
        assert run.test_loss == clock[clock >= run.steps][0]


def test_runs_that_diverged_or_did_not_reach_the_level_have_not_settled() -> None:
    ds = study(lambda lr, damping: inf if damping < 0.5 else 2 * END, rates=[0.1], dampings=[0.25, 0.75])
    found = settled(ds, 0.3)
    assert {run.steps for run in found} == {inf}
    assert np.isnan([run.test_loss for run in found]).all()


# ------------------------------------------------------------------------------------------------------------ the least


def test_the_fastest_follows_both_powers() -> None:
    found = fastest_momenta(settled(study(), 0.3))
    assert list(found) == sorted(RATES)
    for lr, seeds in fastest_dampings(found).items():
        assert [exp(place) for place in seeds] == pytest.approx([lr ** (2 / 3)] * 3, rel=0.12)
    momentum, time = line(fastest_dampings(found)), line(settling_times(found, "fastest"))
    assert momentum is not None
    assert time is not None
    assert momentum.value == pytest.approx(2 / 3, abs=0.03)
    assert time.value == pytest.approx(-2 / 3, abs=0.01)


def test_without_momentum_the_power_is_two() -> None:
    times = settling_times(fastest_momenta(settled(study(), 0.3)), "none")
    assert sorted(times) == sorted(RATES[:4]), "4^9 updates and more are beyond the end"
    plain = line(times)
    assert plain is not None
    assert plain.value == pytest.approx(-2, abs=0.01)


def test_a_learning_rate_whose_fastest_lies_at_an_end_of_the_grid_is_left_out() -> None:
    found = fastest_momenta(settled(study(dampings=[damping for damping in DAMPINGS if damping > 0.02]), 0.3))
    ends = {lr for lr in RATES if lr ** (2 / 3) < 0.02}
    kept = fastest_dampings(found)
    assert ends
    assert not ends & set(kept)
    assert set(settling_times(found, "fastest")) == set(kept)


def test_of_two_budgets_that_which_settled_counts() -> None:
    short, long = (study(dampings=[0.5, 1.0], end=end) for end in (2.0, END))
    long["run"] = ("run", [f"f{run}" for run in long.run.values])
    clocks = ["gauss_newton_trace_measurement", "losses_measurement"]
    shorter = short.isel(dict.fromkeys(clocks, slice(0, 2))).pad(dict.fromkeys(clocks, (0, 599)))
    shorter = shorter.assign_coords({name: long[name] for name in ("gauss_newton_trace_step", "losses_step")})
    both = xr.concat([shorter, long], "run", data_vars="all", coords="minimal", compat="override", join="override")
    expected = [[run.run.steps for run in seeds] for seeds in fastest_momenta(settled(long, 0.3)).values()]
    assert [[run.run.steps for run in seeds] for seeds in fastest_momenta(settled(both, 0.3)).values()] == expected


# ----------------------------------------------------------------------------------------------------------- the claims


def test_the_theory_is_supported_and_another_is_not() -> None:
    ds = study()
    judged = claim("fastest_momentum_exponent").judge(ds)
    assert judged.verdict == "supported"
    assert judged.runs == {"judged": ds.sizes["run"]}
    assert claim("settling_time_exponent").judge(ds).verdict == "supported"
    proportional = study(lambda lr, damping: damping / lr + 10 * lr / damping)  # the least at 1 - beta ~ lr
    assert claim("fastest_momentum_exponent").judge(proportional).verdict == "not_supported"
    assert claim("settling_time_exponent").judge(proportional).verdict == "not_supported"


def test_what_is_left_out_is_named() -> None:
    judged = claim("settling_time_exponent", momentum="none", low=-2.1, high=-1.9).judge(study(end=3e5))
    assert judged.verdict == "supported"
    assert judged.reason == f"left out: {RATES[-1]:g}, where it lies beyond the grid or the budget"
    assert judged.runs["at learning rates left out"] == len(DAMPINGS) * len(SEEDS)


def test_too_few_learning_rates_and_other_axes_are_not_testable() -> None:
    few = claim("fastest_momentum_exponent").judge(study(rates=RATES[:3]))
    assert few.verdict == "not_testable"
    assert "3 learning rates are left; at least 4 are needed" in few.reason
    mixed = study()
    mixed["batch_size"] = ("run", np.arange(mixed.sizes["run"]) % 2)
    mixed = mixed.set_coords("batch_size")
    for name in ("fastest_momentum_exponent", "settling_time_exponent", "fastest_momentum_test_loss"):
        judged = claim(name).judge(mixed)
        assert judged.verdict == "not_testable"
        assert "runs differ in batch_size" in judged.reason


@pytest.mark.parametrize(("ratio", "verdict"), [(1.0, "supported"), (0.5, "supported"), (1.2, "not_supported")])
def test_test_losses_are_compared_when_both_have_settled(ratio: float, verdict: str) -> None:
    ds = study(rates=RATES[:3], tested=lambda damping: 0.2 if damping == 1 else 0.2 * ratio)
    judged = claim("fastest_momentum_test_loss").judge(ds)
    assert (judged.verdict, judged.runs) == (verdict, {"pairs": 9})
    assert judged.value == pytest.approx(ratio)
    alone = claim("fastest_momentum_test_loss").judge(study(dampings=[1.0]))
    assert (alone.verdict, alone.runs) == ("not_testable", {"pairs": 0}), "no momentum but none"
    none = claim("fastest_momentum_test_loss").judge(study(dampings=DAMPINGS[1:]))
    assert none.verdict == "not_testable"


def test_claims_say_what_they_cannot_judge() -> None:
    judge = claim("fastest_momentum_exponent")
    observe = {"gauss_newton_trace": {"every": 2}, "losses": {"every": 2}}
    good = make_run(LEAST_SQUARES, optimizer=NOISY, lr=0.1, observe=observe)
    assert judge.fault(good) == ""
    assert judge.fault(make_run(optimizer="adam", lr=0.1)) == "a run of adam, which has no momentum beta"
    late = make_run(optimizer=NOISY, lr=0.1, observe={**observe, "gauss_newton_trace": {"at": [4, 6]}})
    assert "step 0" in judge.fault(late)
    sparse = make_run(optimizer=NOISY, lr=0.1, observe={**observe, "losses": {"every": 4}})
    assert "losses are not recorded at all steps" in judge.fault(sparse)
    assert claim("settling_time_exponent", control=True).statement.startswith("Control, which must fail: ")


# ----------------------------------------------------------------------------------------------------------- the figure


def test_the_figure_maps_times_and_draws_the_fastest() -> None:
    left, right, _ = SettlingTime().draw(study()).axes
    _, mesh = left.collections[:2]  # grey below, colours above
    expected = np.array([[two_times(lr, damping) for lr in sorted(RATES)] for damping in sorted(DAMPINGS)])
    shown = np.ma.filled(np.ma.masked_invalid(mesh.get_array()).reshape(expected.shape), inf)
    np.testing.assert_allclose(shown, np.where(expected <= END, expected, inf), rtol=0.05)
    points = left.lines[1].get_xydata()  # behind the crosses
    np.testing.assert_allclose(points[:, 1], points[:, 0] ** (2 / 3), rtol=0.12)
    said = [text.get_text().partition(" [")[0] for ax in (left, right) for text in ax.get_legend().get_texts()]
    assert [entry.partition("~ lr^")[0].strip() for entry in said] == [
        "1 - beta of the fastest",
        "fastest momentum",
        "no momentum",
    ]
    assert [float(entry.partition("lr^")[2]) for entry in said] == pytest.approx([2 / 3, -2 / 3, -2], abs=0.03)


def test_the_figure_says_where_nothing_settled_and_what_it_cannot_draw() -> None:
    drawing = SettlingTime().draw(study(lambda lr, damping: inf))
    assert len(drawing.axes) == 2, "no colours to explain"
    assert len(drawing.axes[0].lines[0].get_xdata()) == len(RATES) * len(DAMPINGS), "a cross for each cell"
    (ax,) = SettlingTime().draw(study().drop_vars("optimizer_beta")).axes
    assert [text.get_text() for text in ax.texts] == ["no run has a learning rate and a momentum beta"]
