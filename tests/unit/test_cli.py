"""The command: its words, its status, and never a traceback for a mistake of the user's."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from stepscape.cli import main
from stepscape.progress.watching import watch
from stepscape.registry import KINDS, members, settings
from stepscape.store.costs import learn
from stepscape.store.head import take_head
from stepscape.store.leases import hold
from stepscape.study.paths import Paths
from stepscape.study.plan import make_plan
from stepscape.study.spec import Study
from tests.factories import make_study, train_plan

CLAIMS = [{"id": "at_the_edge", "name": "hovers_at_threshold"}]


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A checkout with one study of six runs; the working directory is its root."""
    monkeypatch.chdir(tmp_path)
    made = make_study(
        Path("config/studies"),
        observe={"losses": {"every": 1}, "hessian_top": {"every": 5}},
        claims=CLAIMS,
        figures=["loss_curves"],
    )
    Path("config/config.yaml").write_text("studies: [small]\nresults: out\n")
    return made


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    try:
        status = main(words)
    except SystemExit as error:  # argparse, for words it does not know
        status = int(error.code or 0)
    captured = capsys.readouterr()
    assert "Traceback" not in captured.out + captured.err
    return status, captured.out, captured.err


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_plan_counts_and_writes_nothing(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(Path())
    status, out, err = said(capsys, "plan")
    assert (status, err) == (0, "")
    header, row, on_a_cluster = (line.split() for line in out.splitlines())
    assert header == ["study", "runs", "exist", "to", "train", "packs", "about"]
    assert row[:5] == ["small", "6", "0", "6", "1"]
    assert on_a_cluster[-5:] == ["less", "than", "0.1", "GPU", "hours"]
    assert tree(Path()) == before
    assert said(capsys, "plan", "small")[1] == out


def test_plan_and_status_follow_what_is_there(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    paths = Paths(Path("out"))
    train_plan(make_plan([study]), paths)
    assert said(capsys, "plan")[1].splitlines()[1].split()[:5] == ["small", "6", "6", "0", "0"]
    assert "6 of 6 runs done" in said(capsys, "status")[1]
    paths.run(study.runs[0].id).unlink()
    assert said(capsys, "plan")[1].splitlines()[1].split()[:5] == ["small", "6", "5", "1", "1"]
    assert "5 of 6 runs done" in said(capsys, "status")[1]
    elsewhere = said(capsys, "plan", "--results", "elsewhere")[1]
    assert elsewhere.splitlines()[1].split()[:5] == ["small", "6", "0", "6", "1"]
    assert not Path("elsewhere").exists()


def test_status_before_anything_ran(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(Path())
    status, out, _ = said(capsys, "status")
    assert status == 0
    assert out.startswith(f"{study.title} (small)")
    assert "0 of 6 runs done" in out
    assert "to go" in out
    assert tree(Path()) == before


def test_from_training_to_figures_by_commands_alone(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    paths = Paths(Path("out"))
    train_plan(make_plan([study]), paths)
    for job in (["collect", "small"], ["judge", "config/studies/small.yaml"], ["draw", "small", "loss_curves"]):
        assert said(capsys, *job, "--results", "out")[0] == 0, job
    (claim,) = json.loads(paths.claims("small").read_text())["claims"]
    assert (claim["id"], claim["verdict"]) == ("at_the_edge", "not_testable")
    assert paths.figure("small", "loss_curves", "svg").read_bytes().startswith(b"<?xml")
    out = said(capsys, "status")[1]
    assert "6 of 6 runs done" in out
    assert "at_the_edge" in out
    assert "not testable" in out
    assert str(paths.figure("small", "loss_curves", "png")) in out
    assert said(capsys, "verify", "out")[0] == 0
    status, _, err = said(capsys, "draw", "small", "nothing", "--results", "out")
    assert status == 1
    assert "it has ['loss_curves']" in err


def test_status_watches_until_all_is_made(
    study: Study, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = Paths(Path("out"))
    steps = iter(
        [
            lambda: train_plan(make_plan([study]), paths),
            lambda: [main([*job, "--results", "out"]) for job in (["collect", "small"], ["judge", "small"])],
            lambda: [
                main([*job, "--results", "out"]) for job in (["draw", "small", "loss_curves"], ["report", "small"])
            ],
        ]
    )
    monkeypatch.setattr(watch, "__defaults__", (lambda seconds: next(steps)(),))
    status, out, _ = said(capsys, "status", "--watch")
    assert status == 0
    assert out.index("0 of 6 runs done") < out.index("6 of 6 runs done")
    assert "not testable" in out
    assert out.rstrip().endswith(f"page    {paths.report('small')}")
    assert next(steps, None) is None


def test_status_tells_of_failures_and_divergence(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    paths = Paths(Path("out"))
    other = make_study(Path("config/studies"), "wild", grid=[{"lr": [0.5, 1e30], "budget.steps": 50}])
    train_plan(make_plan([other]), paths)
    assert "2 of 2 runs done, 1 diverged" in said(capsys, "status", "wild")[1]
    (pack,) = make_plan([study]).packs
    failures = [{"run": run.id} for run in study.runs[:2]]
    paths.failures(pack.id).write_text(json.dumps({"failures": failures}))
    assert "2 failed" in said(capsys, "status")[1]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_list_tells_every_member_and_field(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = said(capsys, "list", kind)
    assert status == 0
    for cls in members(kind):
        assert f"{cls.name} version {cls.version}" in out
        for name, info in settings(cls).items():
            assert name in out
            assert (info.description or name) in out


def test_list_refuses_an_unknown_kind(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = said(capsys, "list", "optimiser")
    assert status == 2
    assert "optimizer" in err


BROKEN: dict[str, Any] = {
    "no YAML": "title: [",
    "empty": "",
    "a list": "- title",
    "binary": "\x00\x01",
    "unknown key": {"title": "t", "grdi": [{"lr": 1}]},
    "no grid": {"title": "t"},
    "unknown optimizer": {"title": "t", "grid": [{"optimizer": "gdd", "lr": 0.1}]},
    "unknown field": {"title": "t", "grid": [{"optimizer": {"name": "adam", "beta": 0.1}, "lr": 0.1}]},
    "wrong type": {"title": "t", "grid": [{"lr": "fast"}]},
    "negative": {"title": "t", "grid": [{"lr": -1}]},
    "unknown observable": {"title": "t", "grid": [{"lr": 1}], "observe": {"loses": {"every": 1}}},
    "no clock": {"title": "t", "grid": [{"lr": 1}], "observe": {"losses": {}}},
    "unknown claim": {"title": "t", "grid": [{"lr": 1}], "claims": ["hovers"]},
    "unknown figure": {"title": "t", "grid": [{"lr": 1}], "figures": [{"name": "loss"}]},
    "nested nonsense": {"title": {"a": 1}, "grid": {"lr": 1}, "observe": [1], "claims": 3},
}


@pytest.mark.parametrize("command", ["plan", "status"])
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_study_is_explained(study: Study, name: str, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    content = BROKEN[name]
    path = study.path.with_name("broken.yaml")
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    status, out, err = said(capsys, command, "broken")
    assert status == 1
    assert out == ""
    assert str(path) in err
    assert "mistake" in err


def test_a_study_that_does_not_exist(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("plan", "status", "collect", "judge"):
        status, _, err = said(capsys, command, "smal")
        assert status == 1
        assert "did you mean 'small'?" in err


def test_a_job_before_its_inputs_is_explained(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = said(capsys, "collect", "small", "--results", "out")
    assert status == 1
    assert err.count("there is no such file") == 6
    for job in (["judge", "small"], ["draw", "small", "loss_curves"]):
        status, _, err = said(capsys, *job, "--results", "out")
        assert status == 1
        assert "no complete dataset" in err


@pytest.mark.parametrize("content", [None, "studies: small: x", "studies: []", "studies: [small]\ndevice: tpu", "3"])
def test_a_broken_configuration_is_explained(
    study: Study, content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path("config/config.yaml")
    path.unlink() if content is None else path.write_text(content)
    status, _, err = said(capsys, "plan")
    assert status == 1
    assert str(path) in err


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_status_survives_damaged_verdicts(study: Study, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    claims = Paths(Path("out")).claims("small")
    claims.parent.mkdir(parents=True)
    claims.write_text(content)
    status, out, _ = said(capsys, "status")
    assert status == 0
    assert "0 of 6 runs done" in out


def test_no_words_are_an_error_and_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys)[0] == 2
    assert said(capsys, "--version")[1].startswith("stepscape ")


def test_plan_says_how_far_off_the_formula_was_and_what_a_cluster_is_asked_for(
    study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    out = said(capsys, "plan")[1]
    assert "GPU hours" in out
    assert "times as much" not in out, "nothing is known yet"
    Path("config/site.yaml").write_text("gpus: 0\n")
    assert "GPU hours" not in said(capsys, "plan")[1]
    plan, paths = make_plan([study]), Paths(Path("out"))
    train_plan(plan, paths)
    assert f"{learn(plan, paths).ratio:.2g} times as much" in said(capsys, "plan")[1]
    Path("config/site.yaml").write_text("gpus: lots\n")
    status, _, err = said(capsys, "plan")
    assert status == 1
    assert "config/site.yaml: 1 mistake" in err


def test_status_tells_of_a_head_what_it_waits_for(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    paths, (pack,) = Paths(Path("out")), make_plan([study]).packs
    head = take_head(paths)
    out = said(capsys, "status")[1]
    assert f"process {os.getpid()} on" in out
    assert "0 packs in training, 1 queued" in out
    with hold(paths, pack.id, [run.id for run in pack.runs]):
        assert "1 pack in training, 0 queued, about" in said(capsys, "status")[1]
    head.release()
    assert "submits jobs" not in said(capsys, "status")[1]
