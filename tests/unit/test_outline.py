"""The outline of a plan: what rules ask of it, for jobs that parse the Snakefile again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stepscape.store.outline import VARIABLE, Outline, hand_down, handed_down, make_outline
from stepscape.store.receipts import keep_up
from stepscape.study import fingerprint
from stepscape.study.paths import Paths
from stepscape.study.plan import make_plan
from stepscape.study.spec import Study, load_study
from tests.factories import make_study
from tests.planning import VALID, load

CHILDREN = """\
  - optimizer: gd
    lr: 0.05
    seed: [0, 1]
    start: {run: {lr: 0.1}, step: 40}
observe:
  parameters: {at: [40]}
"""


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, os.devnull)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return load(tmp_path, VALID.replace("observe:\n", CHILDREN))


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path / "results")


@pytest.fixture
def outline(study: Study, paths: Paths) -> Outline:
    plan = make_plan([study])
    keep_up(plan, paths)
    return make_outline(plan, paths)


def test_it_says_what_the_plan_and_the_study_say(study: Study, paths: Paths, outline: Outline) -> None:
    plan = make_plan([study])
    assert list(outline.packs) == [pack.id for pack in plan.packs]
    assert outline.before == {pack.id: tuple(plan.packs_before(pack)) for pack in plan.packs if plan.packs_before(pack)}
    assert len(outline.before) == 1
    told = outline.studies["probe"]
    assert (told.path, told.has_claims, told.figures) == (str(study.path), True, ("loss_curves",))
    assert told.packs == outline.packs
    assert told.fingerprints == {
        "dataset": fingerprint.of_dataset(study),
        "claims": fingerprint.of_claims(study),
        "report": fingerprint.of_report(study),
        "archive": fingerprint.of_archive(study),
        "figure loss_curves": fingerprint.of_figure(study, "loss_curves"),
    }
    made = [paths.receipt(pack.id) for pack in plan.packs]
    made += [paths.dataset_marker("probe"), paths.table("probe"), paths.claims("probe")]
    made += [paths.figure("probe", "loss_curves", "svg"), paths.report("probe"), paths.index]
    assert outline.targets(paths) == made


def test_a_job_gets_what_its_main_process_wrote(paths: Paths, outline: Outline) -> None:
    assert handed_down() is None
    assert hand_down(outline, paths) == outline == handed_down()
    file = Path(os.environ[VARIABLE])
    before = file.stat()
    hand_down(outline, paths)
    assert file.stat().st_ino == before.st_ino, "the same outline is not written again"


def test_invocations_do_not_read_each_others(tmp_path: Path, study: Study, paths: Paths, outline: Outline) -> None:
    hand_down(outline, paths)
    own = os.environ[VARIABLE]
    study.path.write_text(study.path.read_text().replace("lr: [0.1, 0.2]", "lr: [0.1, 0.2, 0.3]"))
    edited, other = load_study(study.path), make_study(tmp_path, "other")
    for studies in ([edited], [study, other]):
        another = hand_down(make_outline(make_plan(studies), paths), paths)
        assert handed_down() == another != outline
    os.environ[VARIABLE] = own
    assert handed_down() == outline


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 0}'])
def test_one_that_is_damaged_counts_as_none(paths: Paths, outline: Outline, content: str) -> None:
    hand_down(outline, paths)
    Path(os.environ[VARIABLE]).write_text(content)
    assert handed_down() is None


def test_one_of_another_version_counts_as_none(paths: Paths, outline: Outline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepscape.store.outline._FORMAT", 0)
    hand_down(outline, paths)
    monkeypatch.undo()
    monkeypatch.setenv(VARIABLE, str(next(paths.outlines.iterdir())))
    assert handed_down() is None


def test_a_study_that_cannot_be_archived_can_be_trained(tmp_path: Path, paths: Paths) -> None:
    (tmp_path / "points.csv").write_text("lr,seed\n0.1,0\n")
    folder = tmp_path / "below"
    folder.mkdir()
    text = VALID.replace("    lr: [0.1, 0.2]\n    seed: [0, 1]\n", "    points: ../../points.csv\n")
    deeper = folder / "studies"
    deeper.mkdir()
    study = load(deeper, text)
    assert make_outline(make_plan([study]), paths).studies["probe"].fingerprints["archive"] == ""
