"""Datasets of published archives: their formats, what is checked and refused, and what is told where they are not."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepscape.cli import main
from stepscape.datasets import Archive, Dataset
from stepscape.datasets._root import DATA_ROOT
from stepscape.datasets.cifar10 import CIFAR10
from stepscape.datasets.fashion_mnist import FashionMNIST
from stepscape.datasets.mnist import MNIST
from stepscape.datasets.sst2 import SST2
from stepscape.errors import DamagedFileError, Mistaken, StepscapeError
from stepscape.registry import make, members
from stepscape.store.archives import fetch, prepare_data
from stepscape.study.paths import DataPaths, Paths
from stepscape.training.pack import train_pack
from tests.factories import make_run, write_pack
from tests.stand_ins import (
    ARCHIVES,
    cifar_archives,
    idx,
    images,
    mnist_archives,
    phrases,
    prepare_stand_in,
    real_data,
    small,
    write_archives,
)

IMAGES = [(MNIST, (1, 28, 28), 0), (FashionMNIST, (1, 28, 28), 1), (CIFAR10, (3, 32, 32), 0)]


def dataset(name: str, **fields: Any) -> Any:
    return make("dataset", {"name": name, **fields}, name)


def digest(content: bytes, algorithm: str = "md5") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


# ----------------------------------------------------------------------------------------------------------- formats


def test_every_dataset_with_archives_has_stand_ins_and_checksums_that_are_some() -> None:
    assert {cls for cls in members("dataset") if cls.archives} == set(ARCHIVES)  # type: ignore[attr-defined]
    for cls in ARCHIVES:
        assert len({archive.name for archive in cls.archives}) == len(cls.archives)
        for archive in cls.archives:
            algorithm, _, digits = archive.checksum.partition(":")
            assert len(bytes.fromhex(digits)) == hashlib.new(algorithm).digest_size


@pytest.mark.parametrize(("cls", "shape", "seed"), IMAGES)
def test_images_are_unpacked_as_they_were_packed(
    cls: type[Dataset], shape: tuple[int, ...], seed: int, tmp_path: Path
) -> None:
    found = small(cls).unpack(write_archives(cls, tmp_path))
    expected = images(shape if cls is CIFAR10 else shape[1:], seed)
    for name, array in expected.items():
        assert found[name].dtype == np.uint8
        assert np.array_equal(found[name].reshape(array.shape), array)
    assert found["train_images"].shape[1:] == shape
    assert np.array_equal(found["train_sum"].ravel(), expected["train_images"].astype(int).sum(axis=0).ravel())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not gzip",
        gzip.compress(b""),
        gzip.compress(b"\0\0\x0d\1\0\0\0\1\0\0\0\0"),
        gzip.compress(b"\0\0\x08\1\0\0\0\5abcd"),
        gzip.compress(b"\0\0\x08\1\0\0"),
        idx(np.zeros((3, 28, 28), np.uint8))[:-9],
        idx(np.zeros((3, 28, 28), np.uint8)),
    ],
)
def test_files_that_are_no_mnist_are_refused(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where their checksum is right, as if they had been published so."""
    contents = [content, *mnist_archives(images((28, 28)))[1:]]
    monkeypatch.setattr(MNIST, "archives", _published(contents, tmp_path / "away", MNIST))
    with pytest.raises(StepscapeError, match=r"mnist: the archives of mnist cannot be read \("):
        prepare_data("mnist", DataPaths(tmp_path))
    assert not DataPaths(tmp_path).prepared("mnist").exists()


def _published(contents: list[bytes], folder: Path, cls: type[Dataset]) -> tuple[Archive, ...]:
    folder.mkdir()
    files = [folder / archive.name for archive in cls.archives]
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(content)
    return tuple(Archive(file.as_uri(), digest(content)) for file, content in zip(files, contents, strict=True))


def _tar(member: tarfile.TarInfo, content: bytes = b"") -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


def _link(target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo("cifar-10-batches-bin/data_batch_1.bin")
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member


@pytest.mark.parametrize(
    "content",
    [
        _tar(tarfile.TarInfo("../escaped"), b"x"),
        _tar(tarfile.TarInfo("/tmp/stepscape-escaped"), b"x"),
        _tar(_link("/etc/passwd")),
        _tar(_link("../../secret")),
        _tar(tarfile.TarInfo("cifar-10-batches-bin/data_batch_1.bin"), b"not whole records"),
        b"no tar",
        cifar_archives(images((3, 32, 32)))[0][:-1000],
    ],
)
def test_a_tar_that_leads_elsewhere_is_refused_and_nothing_of_it_is_written(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CIFAR10, "archives", _published([content], tmp_path / "away", CIFAR10))
    (tmp_path / "secret").write_bytes(bytes(3073))
    root = tmp_path / "deep" / "data"
    with pytest.raises(StepscapeError, match="the archives of cifar10 cannot be read"):
        prepare_data("cifar10", DataPaths(root))
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {"secret", "away/cifar-10-binary.tar.gz", "deep/data/cifar10/cifar-10-binary.tar.gz"}
    assert not Path("/tmp/stepscape-escaped").exists()


# ------------------------------------------------------------------------------------------------- what is loaded


@pytest.mark.parametrize(("cls", "shape", "seed"), IMAGES)
@pytest.mark.parametrize("scale", ["all", "pixel"])
def test_images_are_standardised_over_the_whole_training_set(
    cls: type[Dataset], shape: tuple[int, ...], seed: int, scale: str
) -> None:
    raw = images(shape if cls is CIFAR10 else shape[1:], seed)
    pixels = raw["train_images"].reshape(-1, *shape).astype(float)
    deviation: Any = pixels.std(axis=0) if scale == "pixel" else pixels.std()
    deviation = np.where(deviation == 0, 1.0, deviation)
    data = dataset(cls.name, scale=scale, train_size=70, test_size=40).load()
    for part, size, found in (("train", 70, data.train_inputs), ("test", 40, data.test_inputs)):
        chosen = raw[f"{part}_images"][:size].reshape(-1, *shape)
        worst = np.abs(found - (chosen - pixels.mean(axis=0)) / deviation).max()
        assert worst < 1e-12, f"{part}: {worst:.1e}"
    assert np.array_equal(data.train_targets, np.eye(10)[raw["train_labels"][:70]])
    assert np.array_equal(data.test_targets, np.eye(10)[raw["test_labels"][:40]])


def _places(**fields: Any) -> tuple[np.ndarray, np.ndarray]:
    """Which training images of the stand-in a subset holds, and their labels there."""
    raw = images((28, 28))
    data = dataset("mnist", train_size=30, test_size=10, **fields).load()
    where = {image.tobytes(): place for place, image in enumerate(raw["train_images"])}
    mean, deviation = raw["train_images"].mean(axis=0), raw["train_images"].std()
    back = np.rint(data.train_inputs[:, 0] * deviation + mean).astype(np.uint8)
    places = np.array([where[image.tobytes()] for image in back])
    return places, raw["train_labels"][places]


def test_the_first_images_of_some_classes_are_taken_in_order() -> None:
    places, labels = _places(classes=[7, 2])
    assert set(labels) == {2, 7}
    all_labels = images((28, 28))["train_labels"]
    assert np.array_equal(places, np.nonzero((all_labels == 7) | (all_labels == 2))[0][:30])
    data = dataset("mnist", train_size=30, test_size=10, classes=[7, 2]).load()
    assert np.array_equal(data.train_targets.argmax(axis=1), (labels == 2).astype(int)), "7 becomes 0, 2 becomes 1"
    signs = dataset("mnist", train_size=30, test_size=10, classes=[7, 2], targets="sign")
    assert not signs.has_classes
    assert np.array_equal(signs.load().train_targets[:, 0], np.where(labels == 2, 1, -1))


def test_the_first_of_each_class_are_as_many_of_each() -> None:
    places, labels = _places(take="first_of_each_class")
    assert np.bincount(labels).tolist() == [3] * 10
    assert np.array_equal(places, np.sort(places))
    for label in range(10):
        first = np.nonzero(images((28, 28))["train_labels"] == label)[0][:3]
        assert np.array_equal(places[labels == label], first)


def test_random_images_differ_by_seed_and_are_drawn_once() -> None:
    places, _ = _places(take="random")
    assert len(set(places)) == 30
    assert not np.array_equal(places, np.sort(places))
    assert not np.array_equal(places, _places(take="random", subset_seed=1)[0])


@pytest.mark.parametrize(
    ("fields", "allowed"),
    [
        ({"classes": [10]}, "different classes of 0 to 9"),
        ({"classes": [1, 1]}, "different classes of 0 to 9"),
        ({"targets": "sign"}, "two `classes` for the targets `sign`"),
        ({"train_size": 60001}, "a train_size of at most 60000"),
        ({"classes": [0, 1], "train_size": 12666}, "a train_size of at most 12665"),
        ({"test_size": 10001}, "a test_size of at most 10000"),
        (
            {"take": "first_of_each_class", "train_size": 1001},
            "a train_size that is a multiple of 10, the number of classes, of at most 54210",
        ),
    ],
)
def test_subsets_that_cannot_be_are_refused_without_the_data(
    fields: dict[str, Any], allowed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DATA_ROOT, "nowhere")
    with pytest.raises(Mistaken) as caught:
        dataset("mnist", **fields)
    assert caught.value.mistakes[0].allowed == allowed


def test_phrases_are_counted_by_the_most_frequent_words() -> None:
    tables = phrases()
    spoken = " ".join(phrase for phrase, _ in tables["train"]).split()
    words = sorted(set(spoken), key=lambda word: (-spoken.count(word), word))[:50]
    data = dataset("sst2", vocabulary=50, train_size=80, test_size=60).load()
    for table, inputs, targets in (
        (tables["train"][:80], data.train_inputs, data.train_targets),
        (tables["dev"][:60], data.test_inputs, data.test_targets),
    ):
        assert np.array_equal(inputs, [[phrase.split().count(word) for word in words] for phrase, _ in table])
        assert np.array_equal(targets.argmax(axis=1), [label for _, label in table])
    assert data.train_inputs.max() > 1


@pytest.mark.slow
def test_mnist_as_published_has_the_stated_counts_and_its_known_mean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with np.load(real_data("mnist.npz")) as held:
        arrays = {
            f"{part}_{what}": held[f"{axis}_{part}"]
            for part in ("train", "test")
            for what, axis in (("images", "x"), ("labels", "y"))
        }
    contents = mnist_archives({name: array.astype(np.uint8) for name, array in arrays.items()})
    monkeypatch.setattr(MNIST, "archives", _published(contents, tmp_path / "away", MNIST))
    prepare_data("mnist", DataPaths(tmp_path))
    monkeypatch.setenv(DATA_ROOT, str(tmp_path))
    data = dataset("mnist", train_size=60000, test_size=10000).load()
    assert data.train_targets.sum(axis=0).tolist() == list(MNIST.train_counts)
    assert np.abs(data.train_inputs.mean(axis=0)).max() < 1e-12
    black = -data.train_inputs.min(axis=0)  # the mean of each pixel over the deviation of all, 0.1307 / 0.3081
    assert abs(black.mean() - 0.1307 / 0.3081) < 3e-4


# -------------------------------------------------------------------------------------------- fetched, checked, told


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder that is served on loopback, and its URL."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *words: Any) -> None:
            pass

        def send_header(self, keyword: str, value: str) -> None:
            whole = keyword == "Content-Length" and self.path.startswith("/short")
            super().send_header(keyword, str(int(value) + 100) if whole else value)

    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{serving.server_port}/"
        serving.shutdown()
        thread.join()


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_an_archive_is_fetched_once_and_only_under_its_name(
    server: tuple[Path, str], tmp_path: Path, algorithm: str
) -> None:
    folder, url = server
    (folder / "a.bin").write_bytes(b"archive")
    archive, path = Archive(f"{url}a.bin", digest(b"archive", algorithm)), tmp_path / "data" / "a.bin"
    assert fetch(archive, path) == path
    assert path.read_bytes() == b"archive"
    (folder / "a.bin").unlink()
    assert fetch(archive, path) == path, "what is there and right is not fetched again"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("name", ["a.bin", "short.bin"])
def test_what_came_with_another_checksum_or_in_part_is_told_and_not_kept(
    server: tuple[Path, str], tmp_path: Path, name: str
) -> None:
    folder, url = server
    (folder / name).write_bytes(b"something else")
    path = tmp_path / "data" / name
    with pytest.raises(StepscapeError) as caught:
        fetch(Archive(f"{url}{name}", digest(b"archive")), path)
    assert f"{url}{name}: what came has the checksum {digest(b'something else')}" in str(caught.value)
    assert digest(b"archive") in str(caught.value)
    assert str(path) in str(caught.value)
    assert list(path.parent.iterdir()) == []


def test_an_archive_that_cannot_be_had_is_told_with_url_checksum_and_place(
    server: tuple[Path, str], tmp_path: Path
) -> None:
    _, url = server
    path = tmp_path / "data" / "a.bin"
    with pytest.raises(StepscapeError) as caught:
        fetch(Archive(f"{url}a.bin", digest(b"archive")), path)
    for word in (f"{url}a.bin", "404", digest(b"archive"), str(path), "put it there"):
        assert word in str(caught.value)
    assert list(path.parent.iterdir()) == []


def test_a_damaged_archive_is_set_aside_told_and_fetched_again(
    server: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, url = server
    (folder / "a.bin").write_bytes(b"archive")
    path = tmp_path / "data" / "a.bin"
    path.parent.mkdir()
    path.write_bytes(b"archiv")
    fetch(Archive(f"{url}a.bin", digest(b"archive")), path)
    assert path.read_bytes() == b"archive"
    kept = path.parent / "damaged" / "a.bin"
    assert kept.read_bytes() == b"archiv"
    assert f"{path}: damaged (its checksum is {digest(b'archiv')}" in capsys.readouterr().out


def test_archives_that_a_person_put_there_are_prepared_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = DataPaths(tmp_path / "data")
    files = write_archives(SST2, paths.prepared("sst2").parent)
    archives = tuple(Archive("http://127.0.0.1:9/" + file.name, digest(file.read_bytes())) for file in files)
    monkeypatch.setattr(SST2, "archives", archives)
    monkeypatch.setenv(DATA_ROOT, str(paths.root))
    with pytest.raises(StepscapeError, match=r"not there, so dataset sst2 is not prepared; start Snakemake"):
        dataset("sst2").load()
    assert main(["prepare-data", "sst2", "--data-root", str(paths.root)]) == 0
    assert capsys.readouterr().out == f"{paths.prepared('sst2')}\n"
    assert dataset("sst2").load().train_inputs.shape == (1000, 200)
    files[0].unlink()
    assert main(["prepare-data", "sst2", "--data-root", str(paths.root)]) == 0, "what is prepared needs no archive"
    paths.prepared("sst2").write_bytes(paths.prepared("sst2").read_bytes()[:-50])
    with pytest.raises(DamagedFileError, match="delete it and start Snakemake"):
        dataset("sst2").load()


@pytest.mark.parametrize(("name", "word"), [("mnits", "did you mean 'mnist'?"), ("digits", "cifar10, fashion_mnist")])
def test_a_dataset_without_archives_is_told(
    name: str, word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prepare-data", name, "--data-root", str(tmp_path)]) == 1
    assert f"dataset '{name}' has no archives" in (told := capsys.readouterr().err)
    assert word in told


def test_a_data_root_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").write_text("a file")
    contents = mnist_archives(images((28, 28)))
    monkeypatch.setattr(MNIST, "archives", _published(contents, tmp_path / "away", MNIST))
    with pytest.raises(StepscapeError, match=r"put it there|must be a folder to write to"):
        prepare_data("mnist", DataPaths(tmp_path / "data"))


# ------------------------------------------------------------------------------------------------- planned, trained

RUN: dict[str, Any] = {
    "dataset": {"name": "mnist", "train_size": 40, "test_size": 20},
    "model": {"name": "mlp", "hidden": [4]},
    "loss": "mse",
    "optimizer": "gd",
    "lr": 0.1,
    "budget": {"steps": 3},
}


def test_a_run_is_planned_without_its_data_and_fails_with_words_when_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DATA_ROOT, str(tmp_path / "data"))
    run, other = make_run(RUN), make_run(RUN, dataset={"name": "digits", "train_size": 40, "test_size": 20})
    assert run.parameter_count == 785 * 4 + 5 * 10
    paths = Paths(tmp_path / "results", DataPaths(tmp_path / "data"))
    pack = write_pack(paths, [run, other])
    assert not train_pack(pack.id, paths, "cpu")
    (failure,) = json.loads(paths.failures(pack.id).read_text())["failures"]
    assert failure["run"] == run.id
    assert "dataset mnist is not prepared; start Snakemake" in failure["error"]
    assert "Traceback" not in "".join(failure["log_tail"])
    assert paths.run(other.id).exists(), "its neighbour trains"
    prepare_stand_in(MNIST, paths.data)
    assert train_pack(pack.id, paths, "cpu")
    assert paths.run(run.id).exists()
