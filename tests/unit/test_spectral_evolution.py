"""Spectra of weights and kernels: the law of random matrices, what is measured, and the claims about both ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from matplotlib import pyplot as plt
from scipy.integrate import quad
from scipy.stats import ks_1samp, ks_2samp

from stepscape.analysis.marchenko_pastur import MarchenkoPastur
from stepscape.analysis.spectra import both_ends, kolmogorov_distance, outlier_path, start_law, tail_exponent
from stepscape.claims.aligned_outlier import AlignedOutlier
from stepscape.claims.follows_marchenko_pastur import FollowsMarchenkoPastur
from stepscape.claims.heavy_tail import HeavyTail
from stepscape.claims.lower_test_loss import LowerTestLoss
from stepscape.claims.spectrum_stays import SpectrumStays
from stepscape.curvature import span_alignment
from stepscape.figures.outlier_path import OutlierPath
from stepscape.figures.spectra_at_both_ends import SpectraAtBothEnds
from stepscape.observables.first_layer import FirstLayer
from stepscape.training.problem import Problem
from tests.factories import SMALL_DIGITS, make_run, normal, train

UNITS, INPUTS = 300, 200


def wishart(units: int = UNITS, inputs: int = INPUTS, *, variance: float = 1.0, seed: int = 0) -> np.ndarray:
    """Eigenvalues of W^T W / units for a normal W, largest first."""
    weights = variance**0.5 * np.random.default_rng(seed).standard_normal((units, inputs))
    return np.linalg.eigvalsh(weights.T @ weights / units)[::-1]


# ---------------------------------------------------------------------------------------- the law and the distances

LAWS = [MarchenkoPastur(2 / 3), MarchenkoPastur(0.1, 4.0), MarchenkoPastur(1.0), MarchenkoPastur(1.5, 0.5)]


@pytest.mark.parametrize("law", LAWS)
def test_the_density_integrates_to_all_but_the_atom_and_the_moments_are_known(law: MarchenkoPastur) -> None:
    """Mean s^2; mean square s^4 (1 + ratio)."""
    low, high = law.edges
    moments = [
        quad(lambda x, p=power: x**p * law.density(np.asarray(x)), low, high, limit=400)[0] for power in range(3)
    ]
    expected = [1 - law.atom, law.variance, law.variance**2 * (1 + law.ratio)]
    np.testing.assert_allclose(moments, expected, rtol=1e-5)


@pytest.mark.parametrize("law", LAWS)
def test_the_distribution_is_the_integral_of_the_density(law: MarchenkoPastur) -> None:
    low, high = law.edges
    for at in np.linspace(low, high, 7)[1:-1]:
        integral, _ = quad(law.density, low, at, limit=400)
        assert float(law.distribution(at)) == pytest.approx(law.atom + integral, abs=1e-6)
    np.testing.assert_allclose(law.distribution([-1e-9, low, high, 2 * high]), [0, law.atom, 1, 1], atol=1e-12)


def test_the_edges_are_those_of_the_definition() -> None:
    law = MarchenkoPastur(0.25, 4.0)
    assert law.edges == (1.0, 9.0)
    assert (law.density(np.array([0.5, 1.0, 9.0, 10.0])) == 0).all()


@pytest.mark.parametrize(("units", "inputs"), [(600, 400), (400, 600)])
def test_random_matrices_follow_the_law_and_no_other(units: int, inputs: int) -> None:
    """Eigenvalues repel each other: 400 independent numbers would be at 0.04 in the mean."""
    eigenvalues = wishart(units, inputs, variance=2.0)
    assert MarchenkoPastur(inputs / units, 2.0).kolmogorov_distance(eigenvalues) < 0.02
    assert MarchenkoPastur(inputs / units, 2.5).kolmogorov_distance(eigenvalues) > 0.05
    assert MarchenkoPastur(units / inputs, 2.0).kolmogorov_distance(eigenvalues) > 0.1


def test_distances_are_those_of_the_tests_of_kolmogorov_and_smirnov() -> None:
    law, eigenvalues, others = MarchenkoPastur(2 / 3), wishart(), wishart(variance=1.1, seed=1)[:150]
    known = ks_1samp(eigenvalues, law.distribution).statistic
    assert law.kolmogorov_distance(eigenvalues) == pytest.approx(known, abs=1e-12)
    assert kolmogorov_distance(eigenvalues, others) == pytest.approx(ks_2samp(eigenvalues, others).statistic)
    assert kolmogorov_distance(eigenvalues, eigenvalues[::-1]) == 0


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="both must be above 0"):
        MarchenkoPastur(0.0)
    with pytest.raises(ValueError, match="at least one is needed"):
        MarchenkoPastur(1.0).kolmogorov_distance(np.empty(0))
    with pytest.raises(ValueError, match="at least one of each"):
        kolmogorov_distance(np.ones(2), np.empty(0))
    for values, share in ((np.ones(10), 0.1), (np.ones(3), 0.99), (np.array([3.0, 2, 1, 0, 0, 0]), 0.5)):
        with pytest.raises(ValueError, match="in the tail"):
            tail_exponent(values, share)


@pytest.mark.parametrize("exponent", [2.5, 4.0, 7.0])
def test_tails_have_the_exponent_that_they_were_drawn_with(exponent: float) -> None:
    """A density ~ x^-a on x > 1, of which the quantiles are known; below it lies anything."""
    tail = ((np.arange(20_000) + 0.5) / 20_000) ** (-1 / (exponent - 1))
    assert tail_exponent(np.concatenate([tail, np.linspace(0, 1, 80_000)]), 0.2) == pytest.approx(exponent, rel=1e-3)


# ---------------------------------------------------------------------------------------- what is measured


def test_alignments_are_cosines() -> None:
    basis = torch.eye(4, dtype=torch.float64)
    slanted = torch.tensor([[3.0, 4.0, 0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(span_alignment(basis, slanted), torch.tensor([0.6, 0.8, 0.0, 0.0]).double())
    dependent = torch.cat([slanted, -2 * slanted])
    torch.testing.assert_close(span_alignment(basis, dependent), torch.tensor([0.6, 0.8, 0.0, 0.0]).double())
    torch.testing.assert_close(span_alignment(basis, normal(5, 4)), torch.ones(4).double())
    assert torch.equal(span_alignment(basis, 0 * slanted), torch.zeros(4).double())


@pytest.mark.parametrize("hidden", [3, 70])
def test_the_first_layer_has_the_spectrum_of_the_dense_matrix(hidden: int) -> None:
    observed = {"first_layer": {"at": [4], "k": 2}, "parameters": {"at": [4]}}
    run = make_run(SMALL_DIGITS, dtype="float64", model={"name": "mlp", "hidden": [hidden]}, observe=observed)
    record, data = train(run), run.dataset.load()
    weights = record.values["parameters"][0][: hidden * 64].reshape(hidden, 64)
    _, singular, rows = np.linalg.svd(weights)
    expected = np.zeros(64)
    expected[: min(hidden, 64)] = singular**2 / hidden
    np.testing.assert_allclose(record.values["first_layer_eigenvalue"][0], expected, atol=1e-12 * expected[0])
    assert record.values["first_layer_ratio"][0] == 64 / hidden
    wanted = data.train_inputs.T @ data.train_targets  # no image of one class: not all columns are independent
    aligned = np.linalg.norm(rows[:2] @ wanted @ np.linalg.pinv(wanted), axis=1)
    np.testing.assert_allclose(record.values["first_layer_alignment"][0], aligned, rtol=1e-8)


def test_weights_that_are_not_finite_have_no_spectrum() -> None:
    run = make_run(SMALL_DIGITS)
    theta = Problem(run, torch.device("cpu")).initial()
    theta[5] = torch.inf
    values, _ = FirstLayer(every=1, k=2).measure(SimpleNamespace(run=run, theta=theta), {})  # type: ignore[arg-type]
    assert {name: np.shape(found) for name, found in values.items()} == {
        "first_layer_eigenvalue": (64,),
        "first_layer_ratio": (),
        "first_layer_alignment": (2,),
    }
    assert all(np.isnan(values[f"first_layer_{name}"]).all() for name in ("eigenvalue", "alignment"))


@pytest.mark.parametrize(
    ("model", "dataset"),
    [
        ("cnn", {"name": "digits", "train_size": 40, "test_size": 20, "shape": "image"}),
        ("student_neurons", "teacher_neuron"),
    ],
)
def test_first_layers_of_another_shape_are_refused(model: str, dataset: Any) -> None:
    loss = "mean_output" if model == "student_neurons" else "mse"
    with pytest.raises(AssertionError, match=f"the first layer of {model} has no row of inputs for each unit"):
        make_run(SMALL_DIGITS, model=model, dataset=dataset, loss=loss, observe={"first_layer": {"at": [0]}})


# ---------------------------------------------------------------------------------------- the claims


def runs(
    spectra: Sequence[Sequence[np.ndarray]],
    *,
    cosine: float = 0.8,
    losses: tuple[float, float] = (1.0, 0.01),
    **coords: Any,
) -> xr.Dataset:
    """Runs that differ in their seed, with the eigenvalues of each measurement."""
    values = np.array([[np.pad(row, (0, 3), constant_values=np.nan) for row in run] for run in spectra])
    count, times = values.shape[:2]
    labels = {key: ("run", np.full(count, key, object)) for key in ("optimizer", "model", "dataset", "loss")}
    return xr.Dataset(
        {
            "first_layer_eigenvalue": (("run", "first_layer_measurement", "direction"), values),
            "feature_kernel_eigenvalue": (("run", "first_layer_measurement", "eigenvalue"), 7 * values),
            "first_layer_ratio": (("run", "first_layer_measurement"), np.full((count, times), INPUTS / UNITS)),
            "first_layer_alignment": (
                ("run", "first_layer_measurement", "leading_direction"),
                np.full((count, times, 1), cosine),
            ),
            "train_loss": (("run", "losses_measurement"), np.tile(losses, (count, 1))),
            "final_train_loss": ("run", np.full(count, losses[1])),
            "status": ("run", np.full(count, "completed", object)),
            "n_steps": ("run", np.full(count, 30)),
        },
        {
            **labels,
            "lr": ("run", np.full(count, 0.1)),
            "seed": ("run", np.arange(count)),
            "first_layer_step": ("first_layer_measurement", 10 * np.arange(times)),
            **{name: ("run", value) for name, value in coords.items()},
        },
    )


def trained(change: Any, seeds: int = 4, **given: Any) -> xr.Dataset:
    """Runs whose last spectrum is `change` of their first."""
    starts = [wishart(seed=seed) for seed in range(seeds)]
    return runs([[start, start, np.sort(change(start))[::-1]] for start in starts], **given)


def with_top(*tops: float) -> Any:
    """The largest eigenvalues at these multiples of the edge of the random matrix."""
    edge = MarchenkoPastur(INPUTS / UNITS).edges[1]
    return lambda start: np.concatenate([edge * np.array(tops), start[len(tops) :]])


def heavy(start: np.ndarray) -> np.ndarray:
    return start * np.maximum(np.linspace(1, -19, len(start)), 0) ** 2 * 4 + start


@pytest.mark.parametrize(
    ("change", "verdict", "value"),
    [
        (lambda start: start, "supported", 0.0),
        (with_top(3.0), "supported", 0.0),  # one of 200 eigenvalues is beyond where there were none
        (lambda start: 1.5 * start, "not_supported", None),
    ],
)
@pytest.mark.parametrize("spectrum", ["first_layer", "feature_kernel"])
def test_spectra_that_stay_are_told_from_those_that_move(change: Any, verdict: str, value: Any, spectrum: str) -> None:
    found = SpectrumStays(spectrum=spectrum).judge(trained(change))
    assert (found.verdict, dict(found.runs)) == (verdict, {"judged": 4})
    if value is not None:
        assert found.value == pytest.approx(value, abs=1.01 / INPUTS)


def test_runs_that_have_not_learnt_do_not_count() -> None:
    found = SpectrumStays().judge(trained(lambda start: start, losses=(1.0, 0.5)))
    assert (found.verdict, dict(found.runs)) == ("not_testable", {"not learnt": 4, "judged": 0})


def test_diverged_runs_are_counted_apart() -> None:
    ds = trained(lambda start: start, seeds=5)
    ds.status.values[0] = "diverged"
    assert dict(SpectrumStays().judge(ds).runs) == {"diverged": 1, "judged": 4}
    assert both_ends(ds, "first_layer")[0] is None


def test_zeros_that_only_rounding_tells_apart_do_not_move() -> None:
    def change(start: np.ndarray) -> np.ndarray:
        return np.where(np.arange(len(start)) < 100, start, -1e-16 * start)

    ds = runs([[change(wishart(seed=seed)), -change(-wishart(seed=seed))] for seed in range(3)])
    below = [np.where(values < 1e-9, 1e-17, values) for values in ds.first_layer_eigenvalue.values[:, 1]]
    ds.first_layer_eigenvalue.values[:, 1] = below
    assert SpectrumStays().judge(ds).value == 0


@pytest.mark.parametrize(
    ("end", "change", "verdict"),
    [("first", heavy, "supported"), ("last", heavy, "not_supported"), ("last", with_top(2.0), "supported")],
)
def test_random_weights_are_told_from_others(end: Any, change: Any, verdict: str) -> None:
    assert FollowsMarchenkoPastur(end=end).judge(trained(change)).verdict == verdict


@pytest.mark.parametrize(
    ("tops", "cosine", "one", "none"),
    [
        ((1.2,), 0.8, "supported", "not_supported"),
        ((1.2,), 0.4, "not_supported", "not_supported"),
        ((1.5, 1.2), 0.8, "not_supported", "not_supported"),
        ((1.04,), 0.8, "not_supported", "supported"),
    ],
)
def test_outliers_are_counted_and_must_be_aligned(tops: tuple[float, ...], cosine: float, one: str, none: str) -> None:
    ds = trained(with_top(*tops), cosine=cosine)
    assert AlignedOutlier().judge(ds).verdict == one
    assert AlignedOutlier(outliers=0).judge(ds).verdict == none


def test_the_edge_is_that_of_the_weights_at_the_start() -> None:
    ds = runs([[wishart(variance=9.0, seed=seed), wishart(variance=9.0, seed=seed)] for seed in range(3)])
    law = start_law(ds, 1)
    assert law.ratio == INPUTS / UNITS
    assert law.variance == pytest.approx(9, rel=0.02)
    assert AlignedOutlier(outliers=0).judge(ds).verdict == "supported"
    steps, ratio, aligned = outlier_path(ds, 1)
    assert (steps.tolist(), aligned.tolist()) == ([0, 10], [0.8, 0.8])
    assert ratio[0] == wishart(variance=9.0, seed=1)[0] / law.edges[1]


@pytest.mark.parametrize(
    ("end", "change", "verdict"), [("last", heavy, "supported"), ("first", heavy, "not_supported")]
)
def test_heavy_tails_are_told_from_edges(end: Any, change: Any, verdict: str) -> None:
    assert HeavyTail(end=end).judge(trained(change)).verdict == verdict


@pytest.mark.parametrize(
    ("observe", "told"),
    [
        ({"first_layer": {"at": [0, 6]}}, "not measured at steps 0 and 12"),
        ({"feature_kernel": {"every": 12, "samples": 20, "k": 10}}, "keeps 10 of 20 eigenvalues: a larger `k`"),
        ({"feature_kernel": {"every": 12, "samples": 20, "k": 20}}, ""),
        ({"first_layer": {"every": 12}}, ""),
    ],
)
def test_spectra_must_be_whole_and_of_both_ends(observe: Mapping[str, Any], told: str) -> None:
    (name,) = observe
    fault = SpectrumStays(spectrum=name).fault(make_run(SMALL_DIGITS, observe=observe))  # type: ignore[arg-type]
    assert told in fault if told else fault == ""


def test_controls_say_that_they_must_fail() -> None:
    assert HeavyTail(control=True).statement.startswith("Control, which must fail: after training")


def test_the_best_learning_rates_are_compared_seed_by_seed() -> None:

    optimizer = np.array(["adam", "adam", "gd", "gd"] * 3, object)
    final = np.array([3.0, 1.0, 2.0, 4.0, 9.0, 1.1, 2.0, 2.2, 0.9, 5.0, np.nan, 1.9])
    ds = trained(lambda start: start, seeds=12).assign(final_test_loss=("run", final))
    ds = ds.assign_coords(optimizer=("run", optimizer), seed=("run", np.repeat(np.arange(3), 4)))
    found = LowerTestLoss().judge(ds)
    expected = (1.0 / 2.0 * 1.1 / 2.0 * 0.9 / 1.9) ** (1 / 3)
    assert (found.verdict, found.value) == ("supported", pytest.approx(expected))
    assert LowerTestLoss(optimizer="gd", than="adam").judge(ds).verdict == "not_supported"
    assert LowerTestLoss(than="sgd").judge(ds).verdict == "not_testable"


# ---------------------------------------------------------------------------------------- the figures


def test_the_histograms_hold_all_eigenvalues_and_the_law() -> None:
    ds = trained(with_top(3.0), seeds=2)
    drawing = SpectraAtBothEnds(bins=20).draw(ds)
    ax, kernel = drawing.axes
    for stairs, end in zip(ax.patches, ("first", "last"), strict=True):
        heights, edges, _ = stairs.get_data()  # type: ignore[attr-defined]
        assert (heights * np.diff(np.log10(edges))).sum() == pytest.approx(1)
        assert edges[-1] >= getattr(both_ends(ds, "first_layer")[0], end).max()
    law = ax.get_lines()[-1]
    at, height = law.get_data()
    assert np.trapezoid(height, np.log10(at)) == pytest.approx(1, abs=0.01)
    assert len(kernel.get_lines()) == 1, "no law is drawn for kernels"
    plt.close("all")


def test_paths_hold_the_largest_eigenvalue_over_the_edge() -> None:
    ds = trained(with_top(3.0), seeds=2)
    left, right = OutlierPath().draw(ds).axes
    x, y = left.get_lines()[1].get_data()
    np.testing.assert_allclose(x, [0, 0.5, 1])
    np.testing.assert_allclose(y, outlier_path(ds, 1)[1])
    assert y[-1] == pytest.approx(3, rel=0.02)
    np.testing.assert_array_equal(right.get_lines()[1].get_ydata(), 0.8)
    plt.close("all")
