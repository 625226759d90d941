"""Generated datasets: each against the closed form that it is named for."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from scipy.interpolate import interp1d
from scipy.ndimage import gaussian_filter
from scipy.special import eval_chebyt, eval_hermitenorm
from scipy.stats import ks_2samp, kstest

from stepscape.datasets import Data
from stepscape.datasets.mnist1d import _resampled, templates
from stepscape.errors import Mistaken
from stepscape.registry import make
from stepscape.training.random import generator
from tests.stand_ins import real_data

DRAWN = ("gaussian_mixture", "matrix_sensing", "mnist1d", "multi_index", "single_index", "sparse_parity")
SIZED = {"train_size": 400, "test_size": 300}


def dataset(name: str, **fields: Any) -> Any:
    return make("dataset", {"name": name, **fields}, name)


def load(name: str, **fields: Any) -> Data:
    return dataset(name, **fields).load()


@pytest.mark.parametrize("name", DRAWN)
def test_another_size_leaves_the_samples_as_they_were(name: str) -> None:
    few, many = load(name, train_size=50, test_size=30), load(name, **SIZED)
    for part, size in (("train", 50), ("test", 30)):
        inputs, targets = (getattr(many, f"{part}_{what}")[:size] for what in ("inputs", "targets"))
        assert np.array_equal(getattr(few, f"{part}_inputs"), inputs)
        np.testing.assert_allclose(getattr(few, f"{part}_targets"), targets, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", [*DRAWN, "heavy_tailed_classes"])
def test_another_seed_draws_another_set_and_test_samples_are_no_training_samples(name: str) -> None:
    data, other = load(name, **SIZED), load(name, **SIZED, subset_seed=1)
    assert not np.array_equal(data.train_inputs, other.train_inputs)
    assert not np.array_equal(data.test_inputs, other.test_inputs)
    assert not np.array_equal(data.train_inputs[:300], data.test_inputs)


@pytest.mark.parametrize("name", ["multi_index", "single_index", "gaussian_mixture", "matrix_sensing"])
def test_inputs_are_standard_normal(name: str) -> None:
    fields = {"separation": 0.0} if name == "gaussian_mixture" else {}
    data = load(name, train_size=1000, test_size=1000, **fields)
    for values in (data.train_inputs, data.test_inputs):
        assert kstest(values.ravel(), "norm").pvalue > 1e-3


@pytest.mark.parametrize("degree", [1, 2, 3, 7])
def test_chebyshev_is_the_polynomial_at_even_points(degree: int) -> None:
    data = load("chebyshev", degree=degree, train_size=21, test_size=5)
    assert np.abs(data.train_inputs[:, 0] - np.arange(-10, 11) / 10).max() < 1e-15
    assert np.abs(data.test_inputs[:, 0] - [-0.8, -0.4, 0.0, 0.4, 0.8]).max() < 1e-15
    for inputs, targets in ((data.train_inputs, data.train_targets), (data.test_inputs, data.test_targets)):
        assert np.abs(targets - eval_chebyt(degree, inputs)).max() < 1e-13


@pytest.mark.parametrize("degree", [1, 2, 4])
def test_single_index_targets_are_a_hermite_polynomial_of_one_direction(degree: int) -> None:
    made = dataset("single_index", degree=degree, inputs=9, train_size=20000, test_size=50)
    data, w = made.load(), made.direction()
    assert abs(w @ w - 1) < 1e-14
    scale = np.prod(np.arange(1, degree + 1)) ** -0.5
    for inputs, targets in ((data.train_inputs, data.train_targets), (data.test_inputs, data.test_targets)):
        assert np.abs(targets[:, 0] - scale * eval_hermitenorm(degree, inputs @ w)).max() < 1e-12
    moment = float(np.mean(data.train_targets**2))
    deviation = np.std(data.train_targets**2) / len(data.train_targets) ** 0.5
    assert abs(moment - 1) < 4 * deviation, "unit variance, as orthonormal polynomials have"


STAIRCASE: Callable[[np.ndarray], np.ndarray] = lambda z: (z[:, 0] + z[:, 0] * z[:, 1] + z.prod(axis=1)) / 3**0.5  # noqa: E731
ADDITIVE: Callable[[np.ndarray], np.ndarray] = lambda z: (z**2 - 1).sum(axis=1) / 6**0.5  # noqa: E731


@pytest.mark.parametrize(("link", "closed_form"), [("staircase", STAIRCASE), ("additive", ADDITIVE)])
def test_multi_index_targets_see_three_orthonormal_directions(
    link: str, closed_form: Callable[[np.ndarray], np.ndarray]
) -> None:
    made = dataset("multi_index", link=link, inputs=9, **SIZED)
    data, weights = made.load(), made.weights()
    assert np.abs(weights @ weights.T - np.eye(3)).max() < 1e-14
    for inputs, targets in ((data.train_inputs, data.train_targets), (data.test_inputs, data.test_targets)):
        assert np.abs(targets[:, 0] - closed_form(inputs @ weights.T)).max() < 1e-13


@pytest.mark.parametrize("name", ["single_index", "multi_index"])
def test_noise_is_on_training_targets_only_and_scales(name: str) -> None:
    clean, noisy, noisier = (load(name, **SIZED, noise=noise) for noise in (0.0, 0.1, 0.2))
    assert np.array_equal(clean.test_targets, noisier.test_targets)
    noise = noisy.train_targets - clean.train_targets
    np.testing.assert_allclose(noisier.train_targets - clean.train_targets, 2 * noise, rtol=1e-9, atol=1e-13)
    assert kstest(noise.ravel() / 0.1, "norm").pvalue > 1e-3


def test_mixture_classes_lie_around_means_of_the_stated_length() -> None:
    data = load("gaussian_mixture", classes=4, inputs=30, separation=5.0, train_size=8000)
    labels = data.train_targets.argmax(axis=1)
    assert np.array_equal(labels, np.arange(8000) % 4)
    means = np.stack([data.train_inputs[labels == c].mean(axis=0) for c in range(4)])
    assert np.abs(np.linalg.norm(means, axis=1) - 5).max() < 0.1
    centred = data.train_inputs - means[labels]
    assert np.abs(centred.T @ centred / 8000 - np.eye(30)).max() < 0.07
    assert np.abs(data.test_inputs.mean(axis=0) - means.mean(axis=0)).max() < 0.3, "test samples have the same means"


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("size", [50, 51, 777, 1000])
def test_rare_classes_have_their_shares_and_one_sample_each(exponent: float, size: int) -> None:
    data = load("heavy_tailed_classes", exponent=exponent, train_size=size, test_size=50)
    counts = data.train_targets.sum(axis=0)
    shares = np.arange(1, 51) ** -exponent / np.sum(np.arange(1, 51) ** -exponent)
    assert counts.sum() == size
    assert np.abs(counts - 1 - (size - 50) * shares).max() < 1
    assert (np.diff(counts) <= 0).all()
    assert np.array_equal(data.test_targets, np.eye(50))


def test_heavy_tailed_inputs_may_be_uniform() -> None:
    """Around means of length 0 that is all they are; another law leaves the classes as they were."""
    data = load("heavy_tailed_classes", separation=0.0, spread="uniform", train_size=400, test_size=400)
    for values in (data.train_inputs, data.test_inputs):
        assert kstest(values.ravel(), "uniform").pvalue > 1e-3
    normal = load("heavy_tailed_classes", separation=0.0, train_size=400, test_size=400)
    assert kstest(normal.train_inputs.ravel(), "norm").pvalue > 1e-3
    assert np.array_equal(normal.train_targets, data.train_targets)
    apart = load("heavy_tailed_classes", separation=5.0, spread="uniform", train_size=400, test_size=400)
    means = apart.train_inputs - data.train_inputs
    np.testing.assert_allclose(np.linalg.norm(means, axis=1), 5.0)


def test_parity_is_that_of_a_few_coordinates_and_of_no_others() -> None:
    made = dataset("sparse_parity", inputs=8, degree=3, train_size=600)
    data, coordinates = made.load(), made.coordinates()
    assert set(np.unique(data.train_inputs)) == {-1, 1}
    right = [
        chosen
        for chosen in combinations(range(8), 3)
        if np.array_equal(data.train_inputs[:, chosen].prod(axis=1), data.train_targets[:, 0])
    ]
    assert right == [tuple(coordinates)]
    classes = load("sparse_parity", inputs=8, degree=3, train_size=600, targets="one_hot")
    assert np.array_equal(2 * classes.train_targets[:, 1] - 1, data.train_targets[:, 0])
    assert np.array_equal(classes.train_inputs, data.train_inputs)


@pytest.mark.parametrize("targets", ["sign", "one_hot"])
def test_parity_has_classes_only_as_one_hot_rows(targets: str) -> None:
    made = dataset("sparse_parity", targets=targets)
    assert made.has_classes == (targets == "one_hot")
    assert made.load().train_targets.shape == (500, made.outputs)


def test_templates_are_standardised_over_six_and_begin_at_zero() -> None:
    drawn = templates()
    assert (drawn[:, 0] == 0).all()
    assert np.abs(drawn.std(axis=1) - 1 / 6).max() < 1e-15


def test_signals_are_resampled_as_scipy_does() -> None:
    signals = np.random.default_rng(0).standard_normal((5, 72))
    expected = interp1d(np.linspace(0, 1, 72), signals)(np.linspace(0, 1, 40))
    assert np.abs(_resampled(signals, 40) - expected).max() < 1e-13


def _stretch(signal: np.ndarray, points: int) -> np.ndarray:
    stretched: np.ndarray = interp1d(np.linspace(0, 1, len(signal)), signal)(np.linspace(0, 1, points))
    return stretched


def _signal(template: np.ndarray, subset: str, i: int, size: int) -> np.ndarray:
    """Sample i of `size`, step by step as the paper has it, from the numbers that the dataset draws."""

    def drawn(what: str) -> np.random.Generator:
        return generator(0, f"{subset} signals: {what}")

    padding = drawn("padding").integers(36, 61, size=size)[i]
    signal = _stretch(np.concatenate([template + 1e-8, np.zeros(padding)]), 72)
    signal = np.roll(
        signal * (1 + 0.4 * (drawn("scale").random(size)[i] - 0.5)), drawn("shift").integers(48, size=size)[i]
    )
    smooth = gaussian_filter(0.25 * drawn("smooth noise").standard_normal((size, 72))[i], 2)
    signal = np.where(signal != 0, signal, smooth) + 0.02 * drawn("white noise").standard_normal((size, 72))[i]
    return _stretch(signal - 0.75 * (drawn("shear").random(size)[i] - 0.5) * np.linspace(-0.5, 0.5, 72), 40)


def test_mnist1d_follows_the_recipe_of_the_paper() -> None:
    data = load("mnist1d", train_size=4000, test_size=40)
    assert abs(data.train_inputs.mean()) < 1e-12
    assert abs(data.train_inputs.std() - 1) < 1e-12
    train = np.stack([_signal(templates()[i % 10], "training", i, 4000) for i in range(0, 4000, 97)])
    test = np.stack([_signal(templates()[i % 10], "test", i, 40) for i in range(40)])
    slope, offset = np.polyfit(train.ravel(), data.train_inputs[::97].ravel(), 1)
    for found, expected in ((data.train_inputs[::97], train), (data.test_inputs, test)):
        worst = np.abs(found - slope * expected - offset).max()
        print(f"worst entry: {worst:.1e}")
        assert worst < 1e-12


@pytest.mark.slow
def test_mnist1d_is_distributed_as_the_published_set() -> None:
    """Kolmogorov's distance at each of 40 points, of each of ten classes: the least of 400 levels is above 1e-5."""
    with np.load(real_data("mnist1d.npz")) as held:
        published, labels = held["x_train"], held["y_train"]
    found = load("mnist1d").train_inputs
    levels = [
        ks_2samp(found[c::10, point], published[labels == c, point]).pvalue for c in range(10) for point in range(40)
    ]
    print(f"least level: {min(levels):.1e}")
    assert min(levels) > 1e-5


@pytest.mark.parametrize(
    ("given", "allowed"),
    [
        ({"name": "multi_index", "inputs": 2}, "at most as many directions as inputs"),
        ({"name": "sparse_parity", "inputs": 2}, "a degree of at most `inputs`"),
        ({"name": "heavy_tailed_classes", "test_size": 49}, "train_size and test_size of at least `classes`"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], allowed: str) -> None:
    with pytest.raises(Mistaken) as caught:
        make("dataset", given, "dataset")
    assert allowed in caught.value.mistakes[0].allowed


# --------------------------------------------------------------------------------------------------- sensed matrices


@pytest.mark.parametrize("rank", [1, 3])
def test_a_sensed_matrix_is_what_its_measurements_say(rank: int) -> None:
    member = dataset("matrix_sensing", size=6, rank=rank, train_size=60, test_size=40)
    data = member.load()
    solved, *_ = np.linalg.lstsq(data.train_inputs.reshape(60, 36), data.train_targets)
    found = solved.reshape(6, 6)
    np.testing.assert_allclose(found, member.matrix(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(np.linalg.eigvalsh(found), [0] * (6 - rank) + [1] * rank, rtol=0, atol=1e-12)
    np.testing.assert_allclose(data.test_inputs.reshape(40, 36) @ solved, data.test_targets, rtol=0, atol=1e-12)


def test_only_training_targets_of_a_sensed_matrix_are_noisy() -> None:
    clean, noisy = (load("matrix_sensing", train_size=2000, noise=noise) for noise in (0.0, 0.2))
    assert kstest(((noisy.train_targets - clean.train_targets) / 0.2).ravel(), "norm").pvalue > 1e-3
    assert np.array_equal(clean.test_targets, noisy.test_targets)


def test_a_sensed_matrix_has_no_more_rank_than_rows() -> None:
    with pytest.raises(Mistaken, match="at most as large a rank as the matrix has rows"):
        dataset("matrix_sensing", size=4, rank=5)
