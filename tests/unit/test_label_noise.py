"""Label-noise SGD on its own equations, what it regularises by, and the claims about it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.linalg import solve_discrete_lyapunov

from stepscape.analysis.bootstrap import resampled
from stepscape.analysis.estimates import mean_over_seeds
from stepscape.analysis.label_noise import noise_paths
from stepscape.claims import Claim
from stepscape.curvature import dense_eigenvalues, dense_hessian, regulariser, stationary_loss
from stepscape.figures.label_noise import LabelNoise
from stepscape.registry import make
from stepscape.training.batches import Batches
from stepscape.training.loop import KeyedRandom
from stepscape.training.problem import Problem
from stepscape.training.random import generator
from tests import references
from tests.factories import LEAST_SQUARES, SMALL_DIGITS, final_parameters, make_run, train

CPU = torch.device("cpu")
KEEP = {"parameters": {"every": 1}}
EIGENVALUES = (1.0, 0.5, 0.25, 0.1)


def noisy(**fields: Any) -> dict[str, Any]:
    return {"name": "label_noise_sgd", **fields}


# --------------------------------------------------------------------------------------------------------- the updates


@pytest.mark.parametrize("batch_size", ["full", 2])
@pytest.mark.parametrize("law", ["rademacher", "gaussian"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_update_is_momentum_on_labels_of_its_own(batch_size: Any, law: str, dtype: str) -> None:
    rule = noisy(std=0.3, beta=0.6, law=law)
    run = make_run(optimizer=rule, batch_size=batch_size, seed=3, lr=0.4, dtype=dtype, observe=KEEP)
    found, data, batches = train(run).values["parameters"], run.dataset.load(), Batches([run])
    theta, velocity = Problem(run, CPU).initial().numpy().astype(float), np.zeros(4)
    for step in range(run.updates):
        rows = np.arange(4) if batch_size == "full" else batches.indices(step)[0].numpy()
        random = generator(3, "label noise", step)
        shape = (len(rows), 1)
        noise = random.standard_normal(shape) if law == "gaussian" else 2.0 * random.integers(0, 2, shape) - 1
        inputs, targets = data.train_inputs[rows], data.train_targets[rows, 0] + 0.3 * noise[:, 0]
        velocity = 0.6 * velocity - 0.4 * inputs.T @ (inputs @ theta - targets) / len(rows)
        theta = theta + velocity
        np.testing.assert_allclose(found[step + 1], theta, rtol=1e-12 if dtype == "float64" else 1e-5, atol=1e-6)


@pytest.mark.parametrize("beta", [0.0, 0.9])
def test_without_noise_it_is_momentum_to_the_bit(beta: float) -> None:
    chosen: dict[str, Any] = {"batch_size": 8, "observe": {"parameters": {"at": [12]}}}
    quiet = make_run(SMALL_DIGITS, optimizer=noisy(std=0, beta=beta), **chosen)
    plain = make_run(SMALL_DIGITS, optimizer={"name": "heavy_ball", "beta": beta}, **chosen)
    assert final_parameters(train(quiet)).tobytes() == final_parameters(train(plain)).tobytes()


def test_runs_of_one_seed_draw_once_and_those_of_others_differ() -> None:
    like, calls = torch.zeros(3, 5, dtype=torch.float32), []

    def draw(random: np.random.Generator) -> np.ndarray:
        calls.append(random)
        return random.standard_normal(4)

    found = KeyedRandom([7, 2, 7], 5).draws("label noise", draw, like)
    assert (found.dtype, tuple(found.shape), len(calls)) == (torch.float32, (3, 4), 2)
    assert torch.equal(found[0], found[2])
    assert not torch.equal(found[0], found[1])
    for seed, row in zip((7, 2), found, strict=False):
        expected = generator(seed, "label noise", 5).standard_normal(4).astype(np.float32)
        assert np.array_equal(row.numpy(), expected)


# ---------------------------------------------------------------------------------------------------- what it descends


def covariance(curvature: float, lr: float, beta: float, noise: float) -> float:
    """Stationary variance of theta, by solving for that of (theta, velocity), which no formula here knows of."""
    update = np.array([[1 - lr * curvature, beta], [-lr * curvature, beta]])
    kick = lr**2 * noise * np.ones((2, 2))  # the noise of a gradient enters both alike
    return float(solve_discrete_lyapunov(update, kick)[0, 0])


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
def test_the_stationary_loss_is_that_of_the_exact_covariance(beta: float, share: float) -> None:
    lr = share * (2 + 2 * beta) / EIGENVALUES[0]
    rule = make("optimizer", noisy(std=0.3, beta=beta), "rule")
    known = rule.implicit_regularisation(lr, 4)  # type: ignore[attr-defined]
    expected = sum(0.5 * h * covariance(h, lr, beta, 0.3**2 / 4 * h) for h in EIGENVALUES)
    found = known.weight * stationary_loss(np.array(EIGENVALUES), rule.threshold(lr))  # type: ignore[attr-defined]
    assert found == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("beta", [0.0, 0.9])
@pytest.mark.parametrize("curvature", [0.05, 1.0, 4.0])
def test_the_slope_of_the_regulariser_is_what_a_held_covariance_pulls_with(beta: float, curvature: float) -> None:
    """d/dh of lambda R is half the stationary variance: so grad 1/2 tr(H Sigma), with Sigma held, is lambda grad R."""
    lr, size = 0.4, 1e-5
    rule: Any = make("optimizer", noisy(std=0.2, beta=beta), "rule")
    threshold, weight = rule.threshold(lr), rule.implicit_regularisation(lr, 10).weight
    ends = [regulariser(np.array([curvature + side, 0.0]), threshold) for side in (size, -size)]
    slope = weight * (ends[0] - ends[1]) / (2 * size)
    assert slope == pytest.approx(covariance(curvature, lr, beta, 0.2**2 / 10 * curvature) / 2, rel=1e-7)


@pytest.mark.parametrize("beta", [0.0, 0.8])
def test_a_run_keeps_up_the_loss_that_its_spectrum_says(beta: float) -> None:
    """Full batches of a quadratic, where the prediction is exact, at a quarter of the threshold."""
    observe = {"losses": {"every": 1}, "hessian_spectrum": {"at": [0]}}
    rule = noisy(std=0.5, beta=beta, law="gaussian")
    given: dict[str, Any] = {"optimizer": rule, "lr": 0.5 * (1 + beta), "budget": {"steps": 5_000}}
    record = train(make_run(LEAST_SQUARES, observe=observe, **given))
    losses = np.asarray(record.values["train_loss"], dtype=float)[200:]
    blocks = losses[: len(losses) // 20 * 20].reshape(20, -1).mean(axis=1)  # far longer than a correlation time
    mean = mean_over_seeds(blocks.tolist())
    expected = float(record.values["label_noise_loss"][0])
    print(f"beta {beta}: mean loss {mean.value:.5f} +- {mean.error:.5f}, predicted {expected:.5f}")
    assert mean.error < 0.05 * expected
    assert abs(mean.value - expected) < 4 * mean.error


def test_far_below_the_threshold_the_regulariser_is_a_quarter_of_the_trace() -> None:
    values = np.array([3.0, 1.0, -0.5])
    assert regulariser(values, 1e9) == pytest.approx(values.sum() / 4, rel=1e-8)
    second = values.sum() / 4 + (values**2).sum() / (8 * 1e3)
    assert regulariser(values, 1e3) == pytest.approx(second, rel=1e-5)
    for threshold in (3.0, 2.0, np.nan):
        assert np.isnan(regulariser(values, threshold))
        assert np.isnan(stationary_loss(values, threshold))


# -------------------------------------------------------------------------------------------------------- the spectrum


@pytest.mark.parametrize("model", [{"name": "mlp", "hidden": [5]}, {"name": "deep_linear", "hidden": [3]}], ids=str)
def test_the_spectrum_is_that_of_the_dense_hessian(model: Any) -> None:
    observe = {"hessian_spectrum": {"at": [2]}, "parameters": {"at": [2]}}
    run = make_run(SMALL_DIGITS, model=model, dtype="float64", optimizer=noisy(beta=0.5), lr=0.01, observe=observe)
    record, problem = train(run), Problem(run, CPU)
    theta = torch.from_numpy(final_parameters(record))
    expected = references.dense_hessian(problem.loss_on(problem.train), theta)
    values = np.linalg.eigvalsh(expected.numpy())[::-1]
    found = {name: rows[0] for name, rows in record.values.items() if name != "parameters"}
    np.testing.assert_allclose(found["spectrum_eigenvalue"], values, atol=1e-12 * values[0])
    assert found["spectrum_trace"] == pytest.approx(float(torch.trace(expected)), rel=1e-10)
    assert found["spectrum_top"] == pytest.approx(values[0], rel=1e-10)
    assert found["spectrum_threshold"] == pytest.approx(300)
    assert (found["implicit_weight"], found["implicit_rate"]) == (pytest.approx(0.02 * 0.01 / 40), pytest.approx(0.02))


def test_a_sum_of_functions_has_the_sum_of_their_hessians() -> None:
    theta = torch.linspace(-1, 1, 150, dtype=torch.float64)  # more than a block of rows
    found = dense_hessian([lambda at: at.pow(3).sum(), lambda at: at.sum(), lambda at: at[0] * at[140]], theta)
    expected = torch.diag(6 * theta)
    expected[0, 140] = expected[140, 0] = 1
    torch.testing.assert_close(found, expected)
    assert np.isnan(dense_eigenvalues(torch.full((2, 2), torch.inf))).all()


def test_where_nothing_is_known_of_an_optimizer_only_its_spectrum_is_recorded() -> None:
    observe = {"hessian_spectrum": {"at": [0]}}
    values = {key: rows[0] for key, rows in train(make_run(optimizer="adam", lr=0.01, observe=observe)).values.items()}
    assert np.isfinite(values["spectrum_trace"])
    assert np.isnan([values["implicit_weight"], values["label_noise_loss"]]).all()


def test_a_network_too_large_for_its_whole_hessian_is_told() -> None:
    with pytest.raises(AssertionError, match=r"hessian_spectrum of 6[0-9]+ parameters.*hessian_density"):
        make_run(SMALL_DIGITS, model={"name": "mlp", "hidden": [80]}, observe={"hessian_spectrum": {"at": [0]}})


# ---------------------------------------------------------------------------------------------------------- the claims


def study(
    configurations: list[dict[str, Any]], seeds: int = 6, measured: int = 9, shape: Any = lambda x: 1 / (1 + 10 * x)
) -> xr.Dataset:
    """A dataset as collected: tr H is 20 times a shape of lambda t, a few per cent different from seed to seed."""
    rows = [{"seed": seed, "rate": 0.1, "weight": 1e-3, **given} for given in configurations for seed in range(seeds)]
    clock = np.arange(measured) * 100
    factor = 1 + 0.02 * np.random.default_rng(0).standard_normal((len(rows), measured))
    time = np.array([row["rate"] * row["weight"] * clock for row in rows])
    trace = 20 * np.array([row.get("shape", shape)(times) for row, times in zip(rows, time, strict=True)]) * factor
    weight = np.array([row["weight"] for row in rows])
    share = np.array([row.get("share", 0.2) for row in rows])
    on_clock = ("run", "hessian_spectrum_measurement")
    predicted = weight[:, None] * trace / 4
    factor_of_loss = np.array([row.get("loss", 1.0) for row in rows])
    return xr.Dataset(
        {
            "spectrum_trace": (on_clock, trace),
            "spectrum_top": (on_clock, trace * share[:, None]),
            "label_noise_regulariser": (on_clock, trace / 4),
            "label_noise_loss": (on_clock, predicted),
            "implicit_weight": (on_clock, np.repeat(weight[:, None], measured, axis=1)),
            "implicit_rate": (on_clock, np.repeat([[row["rate"]] for row in rows], measured, axis=1)),
            "train_loss": (("run", "losses_measurement"), predicted * factor_of_loss[:, None]),
            "status": ("run", np.asarray(["completed"] * len(rows), object)),
        },
        {
            "run": np.asarray([f"{index:016x}" for index in range(len(rows))], object),
            "optimizer": ("run", np.full(len(rows), "label_noise_sgd", object)),
            "lr": ("run", np.array([row["rate"] for row in rows])),
            "batch_size": ("run", np.array([row.get("batch", 4) for row in rows])),
            "full_batch": ("run", np.zeros(len(rows), bool)),
            "seed": ("run", np.array([row["seed"] for row in rows])),
            "hessian_spectrum_step": ("hessian_spectrum_measurement", clock),
            "losses_step": ("losses_measurement", clock),
        },
    )


def claim(name: str, **fields: Any) -> Any:
    made = make("claim", {"name": name, **fields}, name)
    assert isinstance(made, Claim)
    return made


def test_time_is_summed_over_measurements() -> None:
    (path,) = noise_paths(study([{"rate": 0.2}], seeds=1))
    np.testing.assert_allclose(path.time, np.arange(9) * 100 * 0.2 * 1e-3)
    assert path.weight == 1e-3


FOUR_TIMES = [{"rate": 0.1}, {"rate": 0.4}]


@pytest.mark.parametrize(
    ("configurations", "fields", "verdict"),
    [
        (FOUR_TIMES, {}, "supported"),
        (FOUR_TIMES, {"clock": "steps"}, "not_supported"),
        ([{"rate": 0.1}, {"rate": 0.1, "batch": 1, "shape": lambda x: np.exp(-20 * x)}], {}, "not_supported"),
        ([{"weight": 1e-3}, {"weight": 2e-3}], {}, "not_testable"),
        ([{"rate": 0.1}], {}, "not_testable"),
        ([{"weight": 0.0}, {"weight": 0.0, "batch": 1}], {}, "not_testable"),
    ],
)
def test_curves_collapse_in_the_right_time_alone(configurations: Any, fields: Any, verdict: str) -> None:
    judged = claim("label_noise_collapses", **fields).judge(study(configurations, shape=lambda x: np.exp(-10 * x)))
    assert judged.verdict == verdict, judged
    if verdict == "not_testable":
        assert judged.reason
    else:
        assert judged.low <= judged.value <= judged.high


def test_a_missing_seed_is_told() -> None:
    ds = study(FOUR_TIMES)
    judged = claim("label_noise_collapses").judge(ds.isel(run=slice(1, None)))
    assert (judged.verdict, "seed" in judged.reason) == ("not_testable", True)


STILL = {"batch": 8, "weight": 0.0, "shape": np.ones_like}


@pytest.mark.parametrize(
    ("noise", "verdict"),
    [
        ({"shape": lambda x: np.where(x > 0, 0.3, 1.0)}, "supported"),
        ({"shape": lambda x: np.where(x > 0, 0.9, 1.0)}, "not_supported"),
    ],
)
def test_noise_is_compared_with_none_of_the_same_seed(noise: Any, verdict: str) -> None:
    judged = claim("label_noise_flattens").judge(study([STILL, noise]))
    assert (judged.verdict, judged.runs["judged"]) == (verdict, 6)
    assert judged.value == pytest.approx({"supported": 0.3, "not_supported": 0.9}[verdict], rel=0.05)


def test_the_control_looks_at_the_start() -> None:
    field = {"reference": "start", "low": 0.9, "high": 1.1}
    assert claim("label_noise_flattens", **field).judge(study([STILL])).verdict == "supported"
    falling = claim("label_noise_flattens", **field).judge(study([{"shape": lambda x: np.exp(-10 * x)}]))
    assert falling.verdict == "not_supported"
    assert claim("label_noise_flattens").judge(study([{}])).verdict == "not_testable", "nothing to compare with"


@pytest.mark.parametrize(("loss", "verdict"), [(1.0, "supported"), (1.4, "not_supported"), (0.7, "not_supported")])
def test_the_loss_is_compared_with_the_prediction(loss: float, verdict: str) -> None:
    judged = claim("label_noise_loss").judge(study([{"loss": loss}, {"loss": loss, "batch": 8}]))
    assert judged.verdict == verdict
    assert judged.value == pytest.approx(loss, rel=0.02)


@pytest.mark.parametrize(("exponent", "verdict"), [(-0.2, "supported"), (0.2, "not_supported"), (0.0, "undecided")])
def test_the_share_of_the_top_is_fitted_seed_by_seed(exponent: float, verdict: str) -> None:
    rates = (0.05, 0.1, 0.2, 0.4)
    ds = study([{"rate": rate, "share": 0.2 * rate**exponent} for rate in rates])
    uneven = 1 + 0.02 * np.random.default_rng(1).standard_normal(ds.spectrum_top.shape)
    judged = claim("top_share_falls_with_lr").judge(ds.assign(spectrum_top=ds.spectrum_top * uneven))
    assert judged.verdict == verdict
    assert judged.value == pytest.approx(exponent, abs=0.02)
    few = ds.isel(run=np.flatnonzero(ds.lr.values < 0.2))
    assert claim("top_share_falls_with_lr").judge(few).verdict == "not_testable"


def test_runs_of_other_optimizers_are_refused() -> None:
    judge = claim("label_noise_collapses")
    assert "adam" in judge.fault(make_run(optimizer="adam", lr=0.1))
    assert judge.fault(make_run(optimizer=noisy())) == ""


def test_resampling_gives_the_interval_of_a_mean() -> None:
    values = np.random.default_rng(3).standard_normal(60)
    found = resampled(lambda drawn: float(values[drawn].mean()), 60)
    half = 1.96 * values.std() / 60**0.5
    assert found.value == pytest.approx(values.mean())
    np.testing.assert_allclose([found.low, found.high], [values.mean() - half, values.mean() + half], atol=0.03)


# ---------------------------------------------------------------------------------------------------------- the figure


def test_the_figure_puts_curves_of_all_rates_on_one() -> None:
    drawing = LabelNoise().draw(study([*FOUR_TIMES, STILL], shape=lambda x: np.exp(-10 * x)))
    steps, time, loss = drawing.axes
    assert (len(steps.lines), len(time.lines)) == (3, 2), "no time without noise"
    slow, fast = (line.get_xydata() for line in time.lines)
    assert fast[-1, 0] == pytest.approx(4 * slow[-1, 0])
    np.testing.assert_allclose(np.interp(slow[:, 0], *fast.T), slow[:, 1], atol=0.05)
    points = np.concatenate([line.get_xydata() for line in loss.lines[:2]])
    np.testing.assert_allclose(points[:, 1], points[:, 0], rtol=0.5)
    (ax,) = LabelNoise().draw(study([{}]).drop_vars("spectrum_trace")).axes
    assert [text.get_text() for text in ax.texts] == ["no run has a known weight of R"]


def test_claims_refuse_other_losses_than_the_squared_error() -> None:
    runs = [make_run(SMALL_DIGITS, optimizer=noisy(std=0.1), lr=0.01, loss=loss) for loss in ("mse", "cross_entropy")]
    claim: Any = make("claim", "label_noise_loss", "claim")
    assert [bool(claim.fault(run)) for run in runs] == [False, True]
    assert "cross_entropy" in claim.fault(runs[1])
