"""The sharpness of batches: the theory against random matrices, claims and figure on excesses that are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from stepscape.analysis.batch_hessian import BatchSharpness, batch_sharpness, excess_over_prediction
from stepscape.analysis.verdicts import judge_study
from stepscape.claims.batch_sharpness_exponent import BatchSharpnessExponent
from stepscape.claims.batch_sharpness_predicted import BatchSharpnessPredicted
from stepscape.figures.batch_sharpness import BatchSharpnessFigure
from stepscape.study.paths import Paths
from tests.factories import SMALL_DIGITS, collected, make_run, make_study

mpl.use("Agg")

SIZES = [4, 8, 16, 32, 64]
COUNT = 256


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 1.5, 4.0])
def test_theory_is_that_of_random_matrices(share: float) -> None:
    """H has one eigenvalue 2; P s^2 (1/B - 1/N) is `share` times its square."""
    random, dim = np.random.default_rng(0), 600
    inverse = 1 / 8 - 1 / COUNT
    noise = share * 4 / inverse
    point = BatchSharpness(2.0, COUNT, {"isotropic": noise, "top": noise}, {})
    entries = random.standard_normal((dim, dim)) * np.sqrt(noise * inverse / dim)
    wigner = np.triu(entries) + np.triu(entries, 1).T
    wigner[0, 0] += 2
    found = np.linalg.eigvalsh(wigner)[-1] / 2 - 1
    expected = point.predicted(inverse, "isotropic")
    print(f"share {share}: {found:.3f}, theory {expected:.3f}")
    assert found == pytest.approx(expected, rel=0.05, abs=0.05)


def dataset(excess: Sequence[Sequence[float]], *, isotropic: float = 0.4, top: float = 4.0) -> xr.Dataset:
    """Five batches of each size and a measurement of all samples, a point a seed; lambda_1(N) is 2."""
    rows: list[dict[str, Any]] = []
    for seed, values in enumerate(excess):
        start = f"{seed:016x}"
        rows.append({"seed": seed, "size": COUNT, "start": start, "excess": np.nan})
        rows += [
            {"seed": seed, "size": size, "start": start, "excess": value}
            for size, value in zip(SIZES, values, strict=True)
        ]
    full = np.asarray([row["size"] == COUNT for row in rows])
    batches = np.asarray([2 * (1 + row["excess"] * np.asarray([0.5, 1, 1, 1, 1.5])) for row in rows])
    batches = np.pad(batches, ((0, 0), (0, 2)), constant_values=np.nan)
    once = {"hessian_noise": isotropic, "hessian_noise_top": top}
    return xr.Dataset(
        {
            "batch_hessian_eigenvalue": (("run", "batch_top_measurement", "eigenvalue"), batches[..., None]),
            "hessian_eigenvalue": (
                ("run", "hessian_top_measurement", "eigenvalue"),
                np.where(full, 2.0, np.nan)[:, None, None],
            ),
            **{
                name: (("run", "hessian_noise_measurement"), np.where(full, value, np.nan)[:, None])
                for name, value in once.items()
            },
        },
        {
            "run": [f"{index:016x}" for index in range(len(rows))],
            "seed": ("run", [row["seed"] for row in rows]),
            "lr": ("run", np.full(len(rows), 1e-30)),
            "batch_size": ("run", [row["size"] for row in rows]),
            "full_batch": ("run", full),
            "start_run": ("run", np.asarray([row["start"] for row in rows], object)),
            "budget": ("run", np.asarray([f"{row['size']} steps" for row in rows], object)),
        },
        {"title": "Sharpness of batches"},
    )


def powers(exponent: float, scale: float = 1.0, seeds: int = 3, noise: float = 0.02) -> np.ndarray:
    random = np.random.default_rng(1)
    inverses = 1 / np.asarray(SIZES) - 1 / COUNT
    return scale * inverses**exponent * np.exp(noise * random.standard_normal((seeds, len(SIZES))))


def test_points_hold_means_over_batches_and_the_noise_of_their_seed() -> None:
    excess = powers(1.0)
    points = batch_sharpness(dataset(excess))
    assert len(points) == 3
    for point, values in zip(points, excess, strict=True):
        assert (point.sharpness, point.train_size) == (2.0, COUNT)
        assert point.noise == {"isotropic": 0.4, "top": 4.0}
        assert [point.excess(size) for size in SIZES] == pytest.approx(values, rel=1e-12)


@pytest.mark.parametrize(
    ("exponent", "noise", "verdict"),
    [(1.0, 0.02, "supported"), (0.5, 0.02, "not_supported"), (1.2, 0.1, "undecided")],
)
def test_exponent(exponent: float, noise: float, verdict: str) -> None:
    found = BatchSharpnessExponent().judge(dataset(powers(exponent, noise=noise)))
    print(found)
    assert found.verdict == verdict
    assert found.low is not None
    assert found.high is not None
    assert found.low < exponent < found.high
    assert found.runs == {"judged": 3}


@pytest.mark.parametrize(("noise", "ratio"), [("isotropic", 10.0), ("top", 1.0)])
def test_size_beside_the_prediction(noise: Any, ratio: float) -> None:
    """v / lambda^2 is (1/B - 1/N) for the top direction, a tenth of it for the mean over directions."""
    found = BatchSharpnessPredicted(noise=noise).judge(dataset(powers(1.0)))
    print(found)
    assert found.value == pytest.approx(ratio, rel=0.03)
    assert found.verdict == ("supported" if ratio == 1 else "not_supported")
    assert BatchSharpnessPredicted(noise=noise).judge(dataset(powers(1.0, 2 / ratio, noise=0.3))).verdict == "undecided"


@pytest.mark.parametrize("claim", [BatchSharpnessExponent(), BatchSharpnessPredicted()])
def test_what_cannot_be_judged_is_told(claim: BatchSharpnessExponent | BatchSharpnessPredicted) -> None:
    assert "2 seeds" in claim.judge(dataset(powers(1.0, seeds=2))).reason
    negative = powers(1.0)
    negative[1, 2] = -0.1
    assert claim.judge(dataset(negative)).verdict == "not_testable"
    assert "not above 0" in claim.judge(dataset(negative)).reason
    ds = dataset(powers(1.0))
    rates = ds.assign_coords(lr=("run", np.where(ds.seed.values == 0, 1e-30, 1e-31)))
    assert claim.judge(rates).reason == "runs differ in lr; narrow `where`"
    without = ds.isel(run=np.flatnonzero(~ds.full_batch.values))
    assert "0 seeds" in claim.judge(without).reason


def test_without_two_points_there_is_no_spread() -> None:
    assert excess_over_prediction(batch_sharpness(dataset(powers(1.0, seeds=1))), "top") is None


def test_runs_must_stand_still() -> None:
    claim = BatchSharpnessExponent()
    moving, still = (make_run(SMALL_DIGITS, lr=lr, batch_size=8) for lr in (1e-3, 1e-30))
    assert "1e-20" in claim.fault(moving)
    assert claim.fault(still) == ""
    assert claim.needs(still) == (("batch_top",),)
    assert claim.needs(make_run(SMALL_DIGITS)) == (("hessian_top",), ("hessian_noise",))


def test_a_study_measures_batches_where_another_run_ended(tmp_path: Any) -> None:
    """Over disjoint batches the mean of lambda_1 is at least that of all samples: the largest eigenvalue is convex."""
    start = {"run": {"lr": 0.1, "batch_size": "full"}, "step": 12}
    still = {"lr": 1e-30, "start": start, "dtype": "float64"}
    one = {**still, "batch_size": "full", "budget": {"steps": 1}}
    study = make_study(
        tmp_path,
        defaults={**SMALL_DIGITS, "dtype": "float64", "seed": [0, 1]},
        grid=[
            {"observe": {"parameters": {"at": [12]}}},
            {**still, "batch_size": 10, "budget": {"steps": 3}, "observe": {"batch_top": {"every": 1, "tol": 1e-6}}},
            {**one, "observe": {"hessian_top": {"at": [0], "tol": 1e-6}, "hessian_noise": {"at": [0]}}},
        ],
        observe={},
        claims=[{"name": "batch_sharpness_predicted", "noise": "top", "fewest": 2, "where": {"lr": 1e-30}}],
    )
    ds = collected(study, Paths(tmp_path / "results"))
    points = batch_sharpness(ds.isel(run=ds.lr.values < 1e-20))
    assert len(points) == 2
    for point in points:
        assert point.train_size == 40
        assert point.excess(10) > 0
    (told,) = judge_study(study, ds)
    assert told["value"] > 0


def test_the_figure_holds_medians_and_predictions() -> None:
    ds = dataset(powers(1.0))
    drawing = BatchSharpnessFigure().draw(ds)
    (ax,) = drawing.axes
    points = batch_sharpness(ds)
    middle = ax.containers[0].lines[0].get_xydata()  # type: ignore[attr-defined]
    expected = [(points[0].inverse_size(size), np.median([point.excess(size) for point in points])) for size in SIZES]
    np.testing.assert_allclose(middle, expected, rtol=1e-12)
    lines = {line.get_label(): line.get_xydata() for line in ax.get_lines() if "predicted" in str(line.get_label())}
    assert len(lines) == 2
    for (label, line), noise in zip(lines.items(), ("isotropic", "top"), strict=True):
        assert (
            label
            == f"predicted, noise {'alike in all directions' if noise == 'isotropic' else 'across the top eigenvector'}"
        )
        np.testing.assert_allclose(line[:, 1], [points[0].predicted(x, noise) for x in line[:, 0]], rtol=1e-12)  # type: ignore[arg-type]
    legend = ax.get_legend()
    assert legend is not None
    assert any("measured ~ (1/B - 1/N)^" in text.get_text() for text in legend.get_texts())
    plt.close(drawing)
