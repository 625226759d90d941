"""The configuration of a checkout: which studies, where results go; and what is told of a wrong one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from stepscape.errors import FileError, Mistake, Mistaken
from stepscape.registry import settings
from stepscape.study.config import Config, load_plan, make_config, read_config, study_path
from tests.planning import ROOT, VALID, edited

HEADING = "config/config.yaml and --config"


def test_the_shipped_configuration_is_valid_and_its_studies_exist() -> None:
    config = read_config(ROOT / "config" / "config.yaml")
    for name in config.studies:
        assert study_path(name, ROOT / "config" / "studies").is_file()
    assert set(yaml.safe_load((ROOT / "config" / "config.yaml").read_text())) == set(settings(Config))


def test_defaults_fill_what_is_left_out() -> None:
    assert make_config({"studies": ["a"]}) == Config(studies=("a",), results="results", data_root="data", device="auto")


def test_one_study_may_be_given_by_its_name_alone() -> None:
    assert make_config({"studies": "first_sweep"}) == make_config({"studies": ["first_sweep"]})


def test_paths_lie_under_the_results_folder() -> None:
    paths = make_config({"studies": "a", "results": "elsewhere"}).paths
    assert paths.run("0123456789abcdef") == Path("elsewhere/runs/01/0123456789abcdef.zarr.zip")
    assert paths.figure("a", "b", "svg") == Path("elsewhere/studies/a/figures/b.svg")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, [Mistake("studies", "nothing", "a value: this key is required")]),
        ({"studies": []}, [Mistake("studies", "[]", "a list of 1 or more")]),
        (
            {"studies": [1]},
            [Mistake("studies[0]", "1", "text; what looks like a number or a date needs quotes")],
        ),
        ({"studies": "a", "device": "gpu"}, [Mistake("device", "'gpu'", "'cpu', 'cuda' or 'auto'")]),
        ({"studies": "a", "results": ""}, [Mistake("results", "''", "text that is not empty")]),
        (
            {"studies": "a", "result": "x", "device": 3},
            [
                Mistake("device", "3", "'cpu', 'cuda' or 'auto'"),
                Mistake(
                    "result", "unknown key 'result'", "data_root, device, results, studies", "did you mean 'results'?"
                ),
            ],
        ),
        (None, [Mistake("", "nothing", "a mapping with the keys data_root, device, results, studies")]),
        (["a"], [Mistake("", "['a']", "a mapping with the keys data_root, device, results, studies")]),
        (
            {"studies": "a", 3: 4},
            [Mistake("", "{studies: 'a', 3: 4}", "a mapping with the keys data_root, device, results, studies")],
        ),
    ],
)
def test_a_wrong_configuration_is_told(given: Any, expected: list[Mistake]) -> None:
    with pytest.raises(Mistaken) as caught:
        make_config(given)
    assert list(caught.value.mistakes) == expected
    assert str(caught.value).startswith(f"{HEADING}: {len(expected)} mistake")


@pytest.mark.parametrize(
    ("text", "where", "line"),
    [
        ("studies: [a]\ndevice: gpu\n", "device", 2),
        ("results: x\n", "studies", None),
        ("studies: [a\n", "", 2),
        ("", "", None),
    ],
)
def test_a_wrong_file_is_told_with_its_line(tmp_path: Path, text: str, where: str, line: int | None) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(FileError) as caught:
        read_config(path)
    assert [(mistake.where, mistake.line) for mistake in caught.value.mistakes] == [(where, line)]
    assert str(caught.value).startswith(f"{path}: 1 mistake\n")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such file or directory"):
        read_config(tmp_path / "config.yaml")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty checkout with two studies, as the working directory."""
    studies = tmp_path / "config" / "studies"
    studies.mkdir(parents=True)
    (studies / "small.yaml").write_text(VALID)
    (studies / "other.yaml").write_text(edited(("[0.1, 0.2]", "0.3")))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("checkout")
@pytest.mark.parametrize(
    "names", [["small", "small"], ["small", "config/studies/small.yaml"], ["config/studies/../studies/small.yaml"]]
)
def test_a_study_given_twice_is_one_study(names: list[str]) -> None:
    assert [study.name for study in load_plan(names).studies] == ["small"]


@pytest.mark.usefixtures("checkout")
def test_several_studies_make_one_plan() -> None:
    plan = load_plan(["small", "other"])
    assert [study.name for study in plan.studies] == ["small", "other"]
    assert len(plan.runs) == 6


@pytest.mark.usefixtures("checkout")
@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("smal", "did you mean 'small'?"),
        ("zzzzzz", ""),
        ("..", ""),
        ("", ""),
        ("small\0", "did you mean 'small'?"),
        ("nowhere/x.yaml", ""),
    ],
)
def test_an_unknown_study_is_told(name: str, remedy: str) -> None:
    allowed = "those in config/studies (other, small), or the path of a YAML file"
    with pytest.raises(Mistaken) as caught:
        load_plan([name])
    assert caught.value.mistakes == (Mistake("studies", f"unknown study {name!r}", allowed, remedy),)


def test_mistakes_of_all_selected_studies_are_told_together(checkout: Path) -> None:
    (checkout / "config" / "studies" / "small.yaml").write_text(edited(("[0.1, 0.2]", "fast")))
    (checkout / "config" / "studies" / "other.yaml").write_text("title: [\n")
    with pytest.raises(Mistaken) as caught:
        load_plan(["small", "lost", "other"])
    assert len(caught.value.mistakes) == 3
    lines = [line for line in str(caught.value).splitlines() if not line.startswith(" ")]
    assert lines == [
        "config/studies/small.yaml: 1 mistake",
        "studies: 1 mistake",
        "config/studies/other.yaml: 1 mistake",
    ]


def test_two_studies_of_one_name_are_refused(checkout: Path) -> None:
    (checkout / "small.yaml").write_text(edited(("[0.1, 0.2]", "0.3")))
    with pytest.raises(Mistaken) as caught:
        load_plan(["small", "small.yaml"])
    allowed = "a name of its own: results lie under it"
    assert caught.value.mistakes == (Mistake("", "the name of config/studies/small.yaml too", allowed),)
    assert str(caught.value).startswith("small.yaml: 1 mistake\n")
