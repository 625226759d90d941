"""`stepscape selftest` finds what makes a run depend on its neighbours."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from stepscape.cli import main
from stepscape.models.mlp import MLP
from stepscape.optimizers.gd import GradientDescent
from stepscape.training.selftest import architectures, selftest
from tests.factories import LEAST_SQUARES, SMALL_DIGITS, make_run

CPU = torch.device("cpu")
RUNS = [
    make_run(SMALL_DIGITS, seed=1),
    make_run(SMALL_DIGITS, lr=0.5, observe={"gradient_norm": {"every": 2}}, budget={"steps": 3}),
    make_run(SMALL_DIGITS, optimizer="adam", batch_size=3),
    make_run(SMALL_DIGITS, model={"name": "mlp", "hidden": [600, 400]}),
    make_run(LEAST_SQUARES),
]


def test_every_architecture_is_tried_once() -> None:
    assert len(architectures(RUNS)) == 4
    outcomes = list(selftest(RUNS, CPU))
    assert [outcome.mode for outcome in outcomes] == ["vectorised", "vectorised", "sequential", "vectorised"]
    assert all(outcome.differing == () for outcome in outcomes)


def test_why_runs_train_one_after_another_is_told() -> None:
    image = {**SMALL_DIGITS["dataset"], "shape": "image"}  # type: ignore[dict-item]
    cnn = make_run(SMALL_DIGITS, dataset=image, model={"name": "cnn", "channels": [2]})
    (small,), (large,), (convolutions,) = (selftest([run], CPU) for run in (RUNS[0], RUNS[3], cnn))
    assert (small.mode, small.because) == ("vectorised", "")
    assert (large.mode, large.because) == ("sequential", "7e+07 operations an update")
    assert (convolutions.mode, convolutions.differing) == ("sequential", ())
    assert convolutions.because == "convolutions of many networks at once are slower on a CPU"


def test_a_lane_that_depends_on_its_neighbours_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = MLP.lane_outputs
    monkeypatch.setattr(MLP, "lane_outputs", lambda *given: outputs(*given) + 1e-7 * len(given[2]))
    assert [bool(outcome.differing) for outcome in selftest(RUNS, CPU)] == [True, True, False, False]


def test_an_update_that_depends_on_the_lane_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    update = GradientDescent.update

    def moved(self: Any, objective: Any, theta: Any, *given: Any) -> Any:
        new, state = update(self, objective, theta, *given)
        return new + 1e-6 * torch.arange(len(theta))[:, None], state

    monkeypatch.setattr(GradientDescent, "update", moved)
    assert [bool(outcome.differing) for outcome in selftest(RUNS, CPU)] == [True, False, False, True]


def test_what_is_not_the_same_a_second_time_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    update = GradientDescent.update

    def noisy(self: Any, objective: Any, theta: Any, *given: Any) -> Any:
        new, state = update(self, objective, theta, *given)
        return new + 1e-6 * torch.rand(1), state

    monkeypatch.setattr(GradientDescent, "update", noisy)
    assert all(outcome.differing for outcome in selftest(RUNS[3:4], CPU))


def test_the_command_prints_a_row_for_each_and_its_status(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["selftest", "first_sweep", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "yes" in printed
    assert "no:" not in printed
    outputs = MLP.lane_outputs
    monkeypatch.setattr(MLP, "lane_outputs", lambda *given: outputs(*given) + 1e-7 * len(given[2]))
    assert main(["selftest", "first_sweep", "--device", "cpu"]) == 1
    assert "no: by twos, alone" in " ".join(capsys.readouterr().out.split())
