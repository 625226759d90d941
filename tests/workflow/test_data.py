"""Data of published archives, through real Snakemake: prepared once, before training, and only where it is needed."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.stand_ins import images, mnist_archives
from tests.workflow.conftest import AFTER_TRAINING, PAGES, STUDY, Project

pytestmark = pytest.mark.workflow

MEMBER = """\
from stepscape.datasets import Archive
from stepscape.datasets._images import Images, unpack_idx
from stepscape.registry import member


@member("tiny_images")
class TinyImages(Images):
    \"\"\"The stand-in of MNIST, published in a folder.\"\"\"

    archives = {archives}
    image_shape = (1, 28, 28)
    train_counts = (120,) * 10
    test_counts = (60,) * 10

    @classmethod
    def read(cls, files):
        return unpack_idx(files)
"""


@pytest.fixture
def published(fresh: Project, tmp_path: Path) -> Path:
    """A folder of archives; the project's study trains on them, through a member of another package."""
    folder = tmp_path / "published"
    folder.mkdir()
    archives = []
    for number, content in enumerate(mnist_archives(images((28, 28)))):
        file = folder / f"{number}.gz"
        file.write_bytes(content)
        archives.append(f"Archive({file.as_uri()!r}, 'md5:{hashlib.md5(content).hexdigest()}')")
    package = tmp_path / "package"
    (package / "tiny-1.dist-info").mkdir(parents=True)
    (package / "tiny-1.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: tiny\nVersion: 1\n")
    (package / "tiny-1.dist-info/entry_points.txt").write_text("[stepscape.members]\ndataset.tiny_images = tiny\n")
    (package / "tiny.py").write_text(MEMBER.format(archives=f"({', '.join(archives)})"))
    fresh.env["PYTHONPATH"] = f"{package}:{fresh.env.get('PYTHONPATH', '')}"
    fresh.study.write_text(STUDY.replace("name: digits", "name: tiny_images"))
    with (fresh.folder / "config/config.yaml").open("a") as config:
        config.write("data_root: elsewhere/data\n")
    return folder


def test_archives_are_prepared_once_before_training_and_only_if_a_run_needs_them(
    fresh: Project, published: Path
) -> None:
    planned = fresh.run("stepscape", "plan")
    assert planned.returncode == 0, planned.stderr
    assert not (fresh.folder / "elsewhere").exists(), "planning needs no data"
    ran, done = fresh.jobs()
    assert done.returncode == 0, done.stdout + done.stderr
    assert ran == {"prepare_data/tiny_images", "train_pack"} | AFTER_TRAINING
    assert len(fresh.runs()) == 4
    run = next((fresh.folder / "results/runs").glob("*/*.zarr.zip"))
    replayed = fresh.run("stepscape", "replay", str(run))
    assert "Same bytes" in replayed.stdout, replayed.stdout + replayed.stderr

    shutil.rmtree(fresh.folder / "elsewhere")
    shutil.rmtree(published)
    assert fresh.jobs()[0] == set(), "what is trained needs no data"
    fresh.edit("window: 3", "window: 2")
    assert fresh.jobs()[0] == {"draw_figure/tiny.loss_curves"} | PAGES

    fresh.edit("seed: [0, 1]", "seed: [0, 1, 2]")
    ran, done = fresh.jobs()
    assert done.returncode == 1
    assert ran == {"prepare_data/tiny_images"}
    told = (fresh.folder / "results/logs/prepare_data/tiny_images.log").read_text()
    for word in (f"elsewhere/data/tiny_images/0.gz: not there, and {published.as_uri()}", "md5:", "put it there"):
        assert word in told
    assert "Traceback" not in told


def test_a_folder_that_a_person_filled_is_used(fresh: Project, published: Path) -> None:
    folder = fresh.folder / "elsewhere/data/tiny_images"
    shutil.copytree(published, folder)
    shutil.rmtree(published)
    (folder / "0.gz").write_bytes((folder / "0.gz").read_bytes()[:-7])
    done = fresh.snakemake()
    assert done.returncode == 1
    assert not (folder / "0.gz").exists()
    assert (folder / "damaged/0.gz").exists()
    assert (
        "0.gz: damaged (its checksum is md5:"
        in (fresh.folder / "results/logs/prepare_data/tiny_images.log").read_text()
    )
    for number, content in enumerate(mnist_archives(images((28, 28)))):
        (folder / f"{number}.gz").write_bytes(content)
    done = fresh.snakemake()
    assert done.returncode == 0, done.stdout + done.stderr
    plans = [json.loads(path.read_text()) for path in (fresh.folder / "results/packs").glob("*.plan.json")]
    assert [plan["data"] for plan in plans] == [["tiny_images"]] * len(plans)


def test_a_file_may_move_and_its_copy_is_what_runs_train_on(fresh: Project) -> None:
    beside = fresh.study.parent
    np.savez(beside / "arrays.npz", inputs=np.random.default_rng(0).standard_normal((60, 3)), targets=np.arange(60) % 2)
    dataset = "{name: digits, train_size: 40, test_size: 20}"
    fresh.study.write_text(STUDY.replace(dataset, "{name: file, path: arrays.npz, test_size: 20}"))
    ran, done = fresh.jobs()
    assert done.returncode == 0, done.stdout + done.stderr
    assert ran == {"train_pack"} | AFTER_TRAINING
    assert len(list((fresh.folder / "data/files").iterdir())) == 1
    (beside / "arrays.npz").rename(beside / "moved.npz")
    told = fresh.run("stepscape", "plan")
    assert told.returncode == 1
    assert "no such file" in told.stderr
    fresh.edit("path: arrays.npz", "path: moved.npz")
    assert fresh.jobs()[0] == set()
    run = next((fresh.folder / "results/runs").glob("*/*.zarr.zip"))
    assert "Same bytes" in fresh.run("stepscape", "replay", str(run)).stdout
