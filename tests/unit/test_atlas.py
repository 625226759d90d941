"""The atlas: pages from results, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from stepscape import cli
from stepscape.atlas import write_atlas
from stepscape.errors import StepscapeError
from stepscape.store.files import read_json
from stepscape.study.companions import study_files
from stepscape.study.config import read_config
from stepscape.study.paths import Paths
from stepscape.study.spec import Study
from tests.factories import collected, make_study
from tests.planning import ROOT

FINDINGS = "## What was found\n\nThe ratio is {{ claims.edge.value }}, {{ claims.edge.verdict }}.\n"
CLAIM = {"id": "edge", "name": "hovers_at_threshold", "fewest": 2}
OBSERVE = {"losses": {"every": 1}, "hessian_top": {"every": 10}}


@pytest.fixture
def made(tmp_path: Path) -> tuple[Study, Paths, Path]:
    """A study with results, and a configuration that selects it."""
    study = make_study(tmp_path / "studies", claims=[CLAIM], figures=["loss_curves"], observe=OBSERVE)
    study.path.with_suffix(".md").write_text(FINDINGS)
    paths = Paths(tmp_path / "results")
    collected(study, paths)
    for job in ("judge", "draw"):
        words = [job, str(study.path), *(["loss_curves"] if job == "draw" else []), "--results", str(paths.root)]
        assert cli.main(words) == 0
    config = tmp_path / "atlas.yaml"
    config.write_text(yaml.safe_dump({"studies": [str(study.path)], "results": str(paths.root)}))
    return study, paths, config


def test_pages_say_what_the_results_say(made: tuple[Study, Paths, Path], tmp_path: Path) -> None:
    study, paths, config = made
    folder = tmp_path / "atlas"
    (folder / "figures").mkdir(parents=True)
    (folder / "figures/of_a_study_that_is_gone.png").touch()
    assert {path.name for path in write_atlas(config, folder)} == {"README.md", "small.md"}
    (claim,) = read_json(paths.claims(study.name))["claims"]
    shown = "–" if claim["value"] is None else f"{claim['value']:#.3g}"
    verdict = claim["verdict"].replace("_", " ")
    index, page = ((folder / name).read_text() for name in ("README.md", "small.md"))
    assert f"| `edge` | {claim['statement']} | {claim['criterion']} | {shown} |" in index
    assert f"| {verdict} |" in index
    assert "What 1 study found" in index
    assert f"The ratio is {shown}, {verdict}." in page
    assert "6 runs" in page
    assert [path.name for path in (folder / "figures").iterdir()] == ["small.loss_curves.png"]
    assert (folder / "figures/small.loss_curves.png").read_bytes() == paths.figure(
        "small", "loss_curves", "png"
    ).read_bytes()


def test_findings_are_a_file_of_the_study(made: tuple[Study, Paths, Path]) -> None:
    study, _, _ = made
    assert study_files(study)["config/studies/small.md"] == study.path.with_suffix(".md")


def test_missing_results_are_named(made: tuple[Study, Paths, Path], tmp_path: Path) -> None:
    _, paths, config = made
    paths.figure("small", "loss_curves", "png").unlink()
    with pytest.raises(StepscapeError, match=r"loss_curves\.png: not there\n`make atlas`"):
        write_atlas(config, tmp_path / "atlas")
    assert not (tmp_path / "atlas").exists()


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (("1.5", "1.25"), "runs.csv: its runs are not those of"),
        (("id: edge", "id: other"), "claims.json: its claims are not those of"),
    ],
)
def test_results_of_another_version_are_refused(
    edit: tuple[str, str], words: str, made: tuple[Study, Paths, Path], tmp_path: Path
) -> None:
    study, _, config = made
    study.path.write_text(study.path.read_text().replace(*edit))
    with pytest.raises(StepscapeError, match=words):
        write_atlas(config, tmp_path / "atlas")


@pytest.mark.parametrize("wrong", ["{{ claims.egde.value }}", "{{ claims.edge.size }}", "{% if %}"])
def test_findings_that_name_what_is_not_there(
    wrong: str, made: tuple[Study, Paths, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, _, config = made
    study.path.with_suffix(".md").write_text(f"{FINDINGS}\n{wrong}\n")
    assert cli.main(["atlas", "--config", str(config), "--output", str(tmp_path / "atlas")]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"{study.path.with_suffix('.md')}")
    assert "allowed  claims of the study: edge; of each: value, low, high, verdict" in told
    assert not (tmp_path / "atlas").exists()


def test_the_shipped_pages_are_of_the_shipped_studies() -> None:
    """Rerunning the studies is for `make atlas`; that statements, criteria and claims are today's is seen here."""
    from stepscape.study.config import load_plan

    index = (ROOT / "docs/atlas/README.md").read_text()
    for study in load_plan(read_config(ROOT / "config/atlas.yaml").studies).studies:
        page = (ROOT / f"docs/atlas/{study.name}.md").read_text()
        for entry in study.claims:
            assert f"`{entry.id}`" in index
            assert f"| `{entry.id}` |" in page
            assert entry.member.criterion in page
        for figure in study.figures:
            assert (ROOT / f"docs/atlas/figures/{study.name}.{figure.id}.png").is_file()
