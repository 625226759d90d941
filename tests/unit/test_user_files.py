"""Datasets of users' files: what a study says, what a run holds, and what is told of files that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from stepscape.datasets._root import DATA_ROOT
from stepscape.errors import DamagedFileError, Mistake, StepscapeError
from stepscape.registry import make, non_defaults
from stepscape.store.receipts import keep_up
from stepscape.study.paths import DataPaths, Paths
from stepscape.study.plan import make_plan
from stepscape.study.restore import restore_run
from stepscape.study.spec import Study
from stepscape.training.pack import train_pack
from tests.planning import edited, load, told
from tests.stand_ins import TEXT, real_data

RANDOM = np.random.default_rng(0)
WHOLE: dict[str, np.ndarray] = {"inputs": RANDOM.standard_normal((60, 3)), "targets": np.arange(60) % 4}
SPLIT: dict[str, np.ndarray] = {
    "train_inputs": RANDOM.standard_normal((40, 2, 3)),
    "train_targets": RANDOM.standard_normal((40, 2)),
    "test_inputs": RANDOM.standard_normal((15, 2, 3)),
    "test_targets": RANDOM.standard_normal((15, 2)),
}
DIGITS = "{name: digits, train_size: 100, test_size: 20}"


def save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    if path.suffix == ".npz":
        np.savez(path, allow_pickle=False, **arrays)
        return
    store: Any = zarr.storage.ZipStore(path, mode="w") if path.suffix == ".zip" else zarr.storage.LocalStore(path)
    group = zarr.open_group(store, mode="w")
    for name, array in arrays.items():
        group.create_array(name, data=array)
    store.close()


def study(folder: Path, dataset: str, *edits: tuple[str, str]) -> Study:
    return load(folder, edited((DIGITS, dataset), *edits).partition("claims:")[0])


def data_of(made: Study, root: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the runs of a study train on, once the main process has seen it."""
    keep_up(make_plan([made]), Paths(root / "results", DataPaths(root / "data")))
    monkeypatch.setenv(DATA_ROOT, str(root / "data"))
    return made.runs[0].dataset.load()


@pytest.mark.parametrize("name", ["a.npz", "a.zarr", "a.zarr.zip"])
def test_split_arrays_are_what_runs_train_on(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / name, SPLIT)
    made = study(tmp_path, f"{{name: file, path: {name}, train_size: 30}}")
    dataset = made.runs[0].dataset
    assert (dataset.train_size, dataset.test_size, dataset.input_shape, dataset.outputs) == (30, 15, (2, 3), 2)
    assert not dataset.has_classes
    data = data_of(made, tmp_path, monkeypatch)
    assert np.array_equal(data.train_inputs, SPLIT["train_inputs"][:30])
    assert np.array_equal(data.train_targets, SPLIT["train_targets"][:30])
    assert np.array_equal(data.test_inputs, SPLIT["test_inputs"])
    assert np.array_equal(data.test_targets, SPLIT["test_targets"])


def test_whole_arrays_are_split_at_random_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "a.npz", WHOLE)
    made = study(tmp_path, "{name: file, path: a.npz, test_size: 20}")
    assert (made.runs[0].dataset.train_size, made.runs[0].dataset.outputs) == (40, 4)
    data = data_of(made, tmp_path, monkeypatch)
    row = {inputs.tobytes(): place for place, inputs in enumerate(WHOLE["inputs"])}
    places = [row[inputs.tobytes()] for inputs in (*data.train_inputs, *data.test_inputs)]
    assert sorted(places) == list(range(60))
    assert places != sorted(places)
    labels = np.concatenate([data.train_targets, data.test_targets])
    assert np.array_equal(labels, np.eye(4)[WHOLE["targets"][places]])


def test_plain_numbers_are_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "a.npz", {"inputs": np.arange(9), "targets": np.linspace(0, 1, 9)})
    data = data_of(study(tmp_path, "{name: file, path: a.npz, test_size: 2}"), tmp_path, monkeypatch)
    assert data.train_inputs.shape == data.train_targets.shape == (7, 1)
    assert np.abs(data.train_targets - data.train_inputs / 8).max() < 1e-15


def ids(made: Study) -> set[str]:
    return {run.id for run in made.runs}


def test_the_id_holds_the_content_and_not_the_path(tmp_path: Path) -> None:
    save(tmp_path / "a.npz", WHOLE)
    save(tmp_path / "b.zarr", WHOLE)
    one = study(tmp_path, "{name: file, path: a.npz, test_size: 20}")
    assert ids(study(tmp_path, "{name: file, path: b.zarr, test_size: 20}")) == ids(one)
    assert "a.npz" not in json.dumps(one.runs[0].spec)
    assert restore_run(json.loads(json.dumps(one.runs[0].spec))).id == one.runs[0].id
    assert ids(study(tmp_path, "{name: file, path: a.npz, test_size: 20, subset_seed: 1}")).isdisjoint(ids(one))
    other = {**WHOLE, "inputs": WHOLE["inputs"] + 1e-12}
    save(tmp_path / "a.npz", other)
    assert ids(study(tmp_path, "{name: file, path: a.npz, test_size: 20}")).isdisjoint(ids(one))
    save(tmp_path / "a.npz", {**WHOLE, "targets": WHOLE["targets"].astype(float)})
    assert ids(study(tmp_path, "{name: file, path: a.npz, test_size: 20}")).isdisjoint(ids(one)), "no classes"


def test_the_path_may_be_an_axis(tmp_path: Path) -> None:
    save(tmp_path / "a.npz", WHOLE)
    save(tmp_path / "b.npz", {**WHOLE, "inputs": -WHOLE["inputs"]})
    axis = ("    seed: [0, 1]\n", "    seed: [0, 1]\n    dataset.path: [a.npz, b.npz]\n")
    made = study(tmp_path, "{name: file, path: a.npz, test_size: 20}", axis)
    assert len(ids(made)) == 8
    assert {path.name for path in made.data_files.values()} == {"a.npz", "b.npz"}


def test_a_run_trains_on_the_copy_whatever_becomes_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "a.npz", WHOLE)
    made = study(tmp_path, "{name: file, path: a.npz, test_size: 20}", ("[0.1, 0.2]", "0.1"), ("[0, 1]", "0"))
    paths = Paths(tmp_path / "results", DataPaths(tmp_path / "data"))
    plan = make_plan([made])
    keep_up(plan, paths)
    (tmp_path / "a.npz").unlink()
    monkeypatch.setenv(DATA_ROOT, str(tmp_path / "data"))
    copy = paths.data.file(str(made.runs[0].dataset.content))
    whole = copy.read_bytes()
    copy.unlink()
    with pytest.raises(StepscapeError, match="it is the copy of a user's file"):
        made.runs[0].dataset.load()
    np.savez(copy.with_suffix(".npz"), allow_pickle=False, **{**WHOLE, "targets": WHOLE["targets"][::-1]})
    copy.with_suffix(".npz").rename(copy)
    with pytest.raises(DamagedFileError, match="its content is not what its name says; delete it"):
        made.runs[0].dataset.load()
    copy.write_bytes(whole)
    assert train_pack(plan.packs[0].id, paths, "cpu")
    assert paths.run(made.runs[0].id).exists()


NAN = np.array([[0.0], [np.nan]])


@pytest.mark.parametrize(
    ("arrays", "fields", "given"),
    [
        ({"x": NAN}, "", "the arrays x"),
        ({"inputs": WHOLE["inputs"]}, "", "the arrays inputs"),
        ({"inputs": NAN, "targets": NAN}, "", "inputs with values that are not finite"),
        ({**WHOLE, "targets": WHOLE["targets"][:9]}, "", "60 inputs and 9 targets"),
        ({**WHOLE, "targets": WHOLE["targets"] - 1}, "", "the class -1 in targets"),
        ({**WHOLE, "targets": np.zeros((60, 2, 2))}, "", "targets of shape [60, 2, 2]"),
        ({**WHOLE, "inputs": np.zeros((0, 3))}, "", "inputs of shape [0, 3]"),
        ({"inputs": np.array(1.0), "targets": np.array(1.0)}, "", "inputs of shape []"),
        ({**SPLIT, "test_inputs": np.zeros((15, 3))}, "", "test_inputs [15, 3] float64, unlike those for training"),
        (
            {**SPLIT, "test_targets": np.zeros((15, 2), int)},
            "",
            "test_targets [15, 2] int64, unlike those for training",
        ),
        (WHOLE, "", "train_size 60 and test_size 0 of 60 samples"),
        (WHOLE, ", train_size: 50, test_size: 11", "train_size 50 and test_size 11 of 60 samples"),
        (SPLIT, ", train_size: 41", "train_size 41 and test_size 15 of 40 training and 15 test samples"),
        (SPLIT, ", test_size: 16", "train_size 40 and test_size 16 of 40 training and 15 test samples"),
    ],
)
def test_arrays_that_cannot_be_used_are_told_when_planning(
    arrays: dict[str, np.ndarray], fields: str, given: str, tmp_path: Path
) -> None:
    folder = tmp_path / "beside"
    folder.mkdir()
    save(folder / "a.npz", arrays)
    (mistake,) = told(tmp_path_of(tmp_path), edited((DIGITS, f"{{name: file, path: ../beside/a.npz{fields}}}")))
    assert mistake.given == given
    assert mistake.where.startswith("defaults.dataset: ")
    assert mistake.line == 4


def tmp_path_of(folder: Path) -> Path:
    """An empty folder for the study: `told` compares all that lies beside it."""
    made = folder / "study"
    made.mkdir()
    return made


@pytest.mark.parametrize(
    ("content", "given"),
    [(None, "no such file"), (b"no zip", "a file that cannot be read (File is not a zip file)")],
)
@pytest.mark.parametrize("name", ["a.npz", "a.zarr.zip"])
def test_files_that_cannot_be_read_are_told(content: bytes | None, given: str, name: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    (mistake,) = told(tmp_path, edited((DIGITS, f"{{name: file, path: {name}}}")))
    assert mistake.given in (given, given.replace("a file", "a group"))
    assert str(tmp_path / name) in mistake.where


@pytest.mark.parametrize(
    ("fields", "where", "allowed"),
    [
        ("name: file", "defaults.dataset", "a `path`"),
        (
            "name: file, path: a.npz, outputs: 3, has_classes: true",
            "defaults.dataset",
            "`path` without has_classes, outputs, which is found in the file",
        ),
        ("name: text", "defaults.dataset", "a `path`"),
    ],
)
def test_what_is_found_in_the_file_is_not_given(fields: str, where: str, allowed: str, tmp_path: Path) -> None:
    (mistake,) = told(tmp_path, edited((DIGITS, f"{{{fields}}}")))
    assert (mistake.where, mistake.allowed) == (where, allowed)


# -------------------------------------------------------------------------------------------------------------- text


def text_of(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str = TEXT, fields: str = "") -> tuple[Any, Any]:
    """The dataset and the data of a study on a text."""
    (folder / "a.txt").write_bytes(text.encode())
    made = study(folder, f"{{name: text, path: a.txt, train_size: 200, test_size: 50{fields}}}")
    return made.runs[0].dataset, data_of(made, folder, monkeypatch)


def decoded(rows: np.ndarray, characters: list[str]) -> list[str]:
    return ["".join(np.array(characters)[row.argmax(axis=-1)]) for row in rows]


def test_the_class_is_the_character_behind_the_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, data = text_of(tmp_path, monkeypatch, fields=", context: 11")
    characters = sorted(set(TEXT))
    assert dataset.input_shape == (11, len(characters))
    border = 9 * len(TEXT) // 10
    for part, inputs, targets in (
        (TEXT[:border], data.train_inputs, data.train_targets),
        (TEXT[border:], data.test_inputs, data.test_targets),
    ):
        assert (inputs.sum(axis=-1) == 1).all()
        following = decoded(targets[:, None], characters)
        windows = [window + after for window, after in zip(decoded(inputs, characters), following, strict=True)]
        places = [part.index(window) for window in windows]
        assert len(set(places)) == len(windows), "a window of twelve random characters stands once"
        assert places != sorted(places)


def test_more_windows_are_the_same_and_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, few = text_of(tmp_path, monkeypatch)
    more = make("dataset", {"name": "text", **non_defaults(dataset), "train_size": 300}, "").load()  # type: ignore[attr-defined]
    assert np.array_equal(more.train_inputs[:200], few.train_inputs)
    assert np.array_equal(more.test_targets, few.test_targets)


def test_line_ends_are_kept_and_characters_are_code_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a\r\nb\U0001f600" * 200
    dataset, data = text_of(tmp_path, monkeypatch, text, ", context: 1")
    assert dataset.outputs == 5
    assert data.train_inputs.shape == (200, 1, 5)


@pytest.mark.parametrize(
    ("content", "given"),
    [
        (None, "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"abc" * 400, "train_size 1100, of 1064 windows"),
        (b"", "train_size 1100, of 0 windows"),
    ],
)
def test_texts_that_cannot_be_used_are_told(content: bytes | None, given: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "a.txt").write_bytes(content)
    mistakes = told(tmp_path, edited((DIGITS, "{name: text, path: a.txt, train_size: 1100, test_size: 20}")))
    assert len(mistakes) == 1
    assert isinstance(mistakes[0], Mistake)
    assert given in mistakes[0].given


@pytest.mark.slow
def test_a_real_text_has_its_known_characters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = real_data("tinyshakespeare.txt").read_text()
    dataset, data = text_of(tmp_path, monkeypatch, text)
    assert dataset.outputs == 65
    assert data.train_inputs.shape == (200, 16, 65)
