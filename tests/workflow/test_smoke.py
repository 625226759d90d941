"""The small size of every study of the atlas, through real Snakemake: claims judged, figures drawn, pages written."""

from __future__ import annotations

import json

import matplotlib.pyplot as plt
import pytest

from stepscape import open_study
from stepscape.analysis.verdicts import pick
from stepscape.study.config import read_config
from stepscape.study.spec import load_study
from tests.workflow.conftest import ROOT, Project

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

STUDIES = ROOT / "config/studies"
WITHOUT_DATA = {("self_stabilisation_smoke", "self_stabilisation")}
"""Too short for any run to meet the bound: the figure says so."""
SMOKE = sorted(path.stem for path in STUDIES.glob("*_smoke.yaml"))


def test_every_study_of_the_atlas_has_a_small_size() -> None:
    studies = set(read_config(ROOT / "config/atlas.yaml").studies) - {"quickstart"}  # first_sweep is its small size
    assert {f"{name}_smoke" for name in studies} == set(SMOKE)


def test_they_run(fresh: Project) -> None:
    for path in STUDIES.glob("*.yaml"):
        (fresh.folder / "config/studies" / path.name).write_bytes(path.read_bytes())
    done = fresh.snakemake("--config", f"studies=[{','.join(SMOKE)}]")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in SMOKE:
        study = load_study(STUDIES / f"{name}.yaml")
        results = fresh.folder / "results/studies" / name
        ds = open_study(results)
        assert ds.sizes["run"] == len(study.runs)
        assert set(ds.status.values) == {"completed"}, name
        claims = json.loads((results / "claims.json").read_text())["claims"]
        assert [claim["id"] for claim in claims] == [entry.id for entry in study.claims]
        assert all(claim["value"] is not None or claim["reason"] for claim in claims)
        for entry in study.figures:
            assert (results / f"figures/{entry.id}.svg").is_file()
            drawing = entry.member.draw(pick(study, entry, ds))
            assert any(axes.has_data() for axes in drawing.axes) or (name, entry.id) in WITHOUT_DATA, (name, entry.id)
            plt.close(drawing)
        assert (results / "report.html").is_file()
