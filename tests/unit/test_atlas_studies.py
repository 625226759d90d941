"""Studies of the atlas, a few steps long: every claim is judged and every figure drawn on runs of their own grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
import yaml

from stepscape.analysis.verdicts import judge_study, pick
from stepscape.study.paths import Paths
from stepscape.study.spec import load_study
from tests.factories import collected

mpl.use("Agg")

STUDIES = Path(__file__).parents[2] / "config/studies"
STEPS = 12


def shortened(given: Any) -> Any:
    """A part of a study with one seed, short budgets, clocks that fit them, and few samples."""
    if isinstance(given, list):
        return [shortened(part) for part in given]
    if not isinstance(given, dict):
        return given
    found = {key: shortened(value) for key, value in given.items()}
    if "seed" in found:
        found["seed"] = 0
    if "budget" in found:
        found["budget"] = {"steps": STEPS}
    if "train_size" in found:
        found |= {"train_size": 40, "test_size": 20}
    if "every" in found:
        found["every"] = 4 if found["every"] > 4 else found["every"]
    if "at" in found:
        found["at"] = sorted({min(step, STEPS) for step in found["at"]})
    if isinstance(found.get("step"), int):  # at which a run starts from another
        found["step"] = min(found["step"], STEPS)
    return found


@pytest.mark.parametrize("name", ["edge_of_stability", "hessian_inertia", "single_neuron", "label_noise"])
def test_every_claim_is_judged_and_every_figure_drawn(name: str, tmp_path: Path) -> None:
    content = shortened(yaml.safe_load((STUDIES / f"{name}.yaml").read_text()))
    (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    study = load_study(tmp_path / f"{name}.yaml")
    ds = collected(study, Paths(tmp_path / "results"))
    assert set(ds.status.values) <= {"completed", "diverged"}
    told = judge_study(study, ds)
    assert [claim["id"] for claim in told] == [entry.id for entry in study.claims]
    assert all(claim["verdict"] != "not_testable" or claim["reason"] for claim in told)
    for entry in study.figures:
        drawing = entry.member.draw(pick(study, entry, ds))
        assert drawing.axes
        plt.close(drawing)
