"""Whole sweeps through real Snakemake: what runs, what does not, and what is left behind."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import xarray as xr

import stepscape
from tests.workflow.conftest import AFTER_TRAINING, PAGES, ROOT, Project

pytestmark = pytest.mark.workflow


def assert_nothing_runs(project: Project) -> None:
    ran, done = project.jobs()
    assert done.returncode == 0, done.stderr
    assert ran == set()


def test_a_sweep_leaves_everything_it_promises(finished: Project) -> None:
    results = finished.folder / "results"
    assert len(finished.runs()) == 4
    ds = stepscape.open_study(results / "studies/tiny")
    assert dict(ds.sizes) == {"run": 4, "step": 7, "hessian_top_measurement": 4, "eigenvalue": 1}
    assert set(ds.status.values) == {"completed"}
    assert xr.open_zarr(results / "studies/tiny/dataset.zarr", consolidated=False).equals(ds)
    (claim,) = json.loads((results / "studies/tiny/claims.json").read_text())["claims"]
    assert claim["verdict"] == "not_testable"
    assert claim["runs"] == {"never": 4, "judged": 0}
    names = {path.name for path in (results / "studies/tiny/figures").iterdir()}
    assert names == {
        f"{name}.{kind}" for name in ("loss_curves", "sharpness_over_threshold") for kind in ("svg", "png")
    }
    receipts = [json.loads(path.read_text()) for path in (results / "packs").glob("????????????????.json")]
    told = {run_id: said for receipt in receipts for run_id, said in receipt["runs"].items()}
    assert set(told) == set(finished.runs())
    assert all(said["status"] == "completed" and said["host"] for said in told.values())


def test_again_nothing_runs(project: Project) -> None:
    assert_nothing_runs(project)


def test_a_learning_rate_added_and_removed(project: Project) -> None:
    before = project.runs()
    project.edit("lr: [0.1, 0.2]", "lr: [0.1, 0.15, 0.2]")
    ran, done = project.jobs()
    assert done.returncode == 0, done.stderr
    assert ran == {"train_pack"} | AFTER_TRAINING
    after = project.runs()
    assert {run_id: after[run_id] for run_id in before} == before
    new = [stepscape.open_run(file) for file in project.folder.glob("results/runs/*/*") if file.name[:16] not in before]
    assert sorted(json.loads(run.attrs["spec"])["lr"] for run in new) == [0.15, 0.15]
    assert stepscape.open_study(project.folder / "results/studies/tiny").sizes["run"] == 6
    assert_nothing_runs(project)

    project.edit("lr: [0.1, 0.15, 0.2]", "lr: [0.1, 0.2]")
    ran, done = project.jobs()
    assert done.returncode == 0, done.stderr
    assert ran == AFTER_TRAINING
    assert project.runs() == after
    assert stepscape.open_study(project.folder / "results/studies/tiny").sizes["run"] == 4
    assert_nothing_runs(project)


def test_a_figure_edited(project: Project) -> None:
    project.edit("window: 3", "window: 5")
    ran, _ = project.jobs()
    assert ran == {"draw_figure/tiny.loss_curves"} | PAGES
    assert_nothing_runs(project)


def test_a_claim_edited(project: Project) -> None:
    project.edit("name: hovers_at_threshold", "name: hovers_at_threshold, high: 1.2")
    ran, _ = project.jobs()
    assert ran == {"judge_claims/tiny"} | PAGES


def test_a_checkout_that_renews_all_time_stamps(project: Project) -> None:
    for folder, _, names in os.walk(project.folder):
        if "results" not in Path(folder).parts and ".snakemake" not in Path(folder).parts:
            for name in names:
                os.utime(Path(folder) / name, follow_symlinks=False)
    assert_nothing_runs(project)


def test_a_comment_and_a_change_in_the_code(project: Project) -> None:
    source = project.folder / "src"
    shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    project.env["PYTHONPATH"] = str(source)
    for module in source.rglob("*.py"):
        module.write_text(f"{module.read_text()}\n# a comment\n")
    assert_nothing_runs(project)
    shared = source / "stepscape/claims/_edge.py"
    text = shared.read_text()
    assert "at least {self.fewest} must" in text
    shared.write_text(text.replace("at least {self.fewest} must", "at least {self.fewest} have to"))
    ran, _ = project.jobs()
    assert ran == {"judge_claims/tiny"} | PAGES


def test_a_deleted_run_is_trained_again_and_no_other(project: Project) -> None:
    before = project.runs()
    logs = {log.read_bytes() for log in project.folder.glob("results/logs/train_pack/*.log")}
    gone = sorted(before)[0]
    next(project.folder.glob(f"results/runs/*/{gone}.zarr.zip")).unlink()
    ran, done = project.jobs()
    assert done.returncode == 0, done.stderr
    assert ran == {"train_pack"} | AFTER_TRAINING
    kept = {log.read_bytes() for log in project.folder.glob("results/logs/train_pack/jobs/*.log")}
    assert len(kept) == len(logs) + 1
    assert kept >= logs, "what the earlier job printed is still there"
    after = project.runs()
    assert after[gone][0] == before[gone][0], "the same run, the same bytes"
    del before[gone], after[gone]
    assert after == before
    assert_nothing_runs(project)


def test_a_damaged_run_is_named_and_trained_again(project: Project) -> None:
    before = project.runs()
    broken = sorted(before)[1]
    file = next(project.folder.glob(f"results/runs/*/{broken}.zarr.zip"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    checked = project.run("stepscape", "verify", "results")
    assert checked.returncode == 1
    assert str(file.relative_to(project.folder)) in checked.stdout

    project.edit("title: A tiny sweep", "title: The tiny sweep")  # collects again
    ran, done = project.jobs()
    assert done.returncode == 1
    assert ran == {"collect_study/tiny"}
    assert file.name in done.stdout + done.stderr
    assert not file.exists()
    assert [path.name for path in (project.folder / "results/damaged").iterdir()] == [file.name]

    ran, done = project.jobs()
    assert done.returncode == 0, done.stderr
    after = project.runs()
    assert after[broken][0] == before[broken][0]
    del before[broken], after[broken]
    assert after == before
    assert project.run("stepscape", "verify", "results").returncode == 0


def test_a_damaged_dataset_is_named_and_made_again(project: Project) -> None:
    folder = project.folder / "results/studies/tiny"
    before = {path: path.read_bytes() for path in folder.glob("dataset.zarr/**/*") if path.is_file()}
    (chunk,) = (folder / "dataset.zarr/train_loss/c").rglob("0/0")
    chunk.unlink()
    checked = project.run("stepscape", "verify", "results")
    assert checked.returncode == 1
    assert f"{chunk.relative_to(project.folder)}: missing" in checked.stdout
    assert "Delete what is damaged, of a dataset the whole folder `dataset.zarr`, and start Snakemake" in checked.stdout
    shutil.rmtree(folder / "dataset.zarr")
    ran, done = project.jobs()
    assert done.returncode == 0, done.stderr
    assert ran == AFTER_TRAINING
    assert {path: path.read_bytes() for path in folder.glob("dataset.zarr/**/*") if path.is_file()} == before
    assert project.run("stepscape", "verify", "results").returncode == 0


def test_a_second_study_that_shares_runs(project: Project) -> None:
    before = project.runs()
    second = project.study.with_name("second.yaml")
    second.write_text(project.study.read_text().replace("lr: [0.1, 0.2]", "lr: [0.2, 0.4]"))
    ran, done = project.jobs("--config", "studies=[tiny,second]")
    assert done.returncode == 0, done.stderr
    assert ran == {"train_pack"} | {name.replace("tiny", "second") for name in AFTER_TRAINING}
    after = project.runs()
    assert len(after) == 6
    assert {run_id: after[run_id] for run_id in before} == before
    ran, done = project.jobs("--config", "studies=second")
    assert done.returncode == 0, done.stderr
    assert "train_pack" not in ran
    assert project.runs() == after


def test_a_broken_study_is_told_in_the_same_words_and_nothing_is_written(fresh: Project) -> None:
    fresh.edit("lr: [0.1, 0.2]", "lr: [-0.1, .nan]")
    fresh.edit("optimizer: gd", "optimizer: gdd")
    planned = fresh.run("stepscape", "plan")
    assert planned.returncode == 1
    for words in ("config/studies/tiny.yaml: 3 mistakes", "grid[0].lr[0]", "did you mean 'gd'?"):
        assert words in planned.stderr
    done = fresh.snakemake()
    assert done.returncode == 1
    said = " ".join((done.stdout + done.stderr).split())
    assert " ".join(planned.stderr.split()) in said
    assert "Traceback" not in planned.stderr + said
    assert not (fresh.folder / "results").exists()


def test_a_run_that_fails_costs_no_neighbour(fresh: Project) -> None:
    package = fresh.folder / "breaks"
    (package / "breaks-1.dist-info").mkdir(parents=True)
    (package / "breaks-1.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: breaks\nVersion: 1\n")
    (package / "breaks-1.dist-info/entry_points.txt").write_text(
        "[stepscape.members]\noptimizer.breaks = breaks:Breaks\n"
    )
    (package / "breaks.py").write_text(
        "from stepscape.optimizers.gd import GradientDescent\n"
        "from stepscape.registry import member\n"
        "@member('breaks')\n"
        "class Breaks(GradientDescent):\n"
        "    def update(self, objective, theta, state, hyper, random):\n"
        "        if (hyper['lr'] == 0.2).any():\n"
        "            raise ArithmeticError('no such step')\n"
        "        return super().update(objective, theta, state, hyper, random)\n"
    )
    fresh.env["PYTHONPATH"] = str(package)
    fresh.edit("optimizer: gd", "optimizer: breaks")
    done = fresh.snakemake("--keep-going")
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert len(fresh.runs()) == 2
    for words in ("ArithmeticError: no such step", "lr=0.2", "stepscape train-pack"):
        assert words in said
    status = fresh.run("stepscape", "status")
    assert "2 of 4 runs done" in status.stdout
    assert "2 failed" in status.stdout
    (package / "breaks.py").write_text((package / "breaks.py").read_text().replace("== 0.2", "== 0.3"))
    before = fresh.runs()
    assert fresh.snakemake().returncode == 0
    assert len(fresh.runs()) == 4
    assert {run_id: fresh.runs()[run_id] for run_id in before} == before


def test_a_dry_run_trains_nothing(fresh: Project) -> None:
    done = fresh.snakemake("--dry-run")
    assert done.returncode == 0, done.stderr
    assert fresh.runs() == {}
    assert "train_pack" in done.stdout + done.stderr
