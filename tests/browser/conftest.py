"""A small study with everything that a page shows, its page, and a browser that opens it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import xarray as xr
from playwright.sync_api import Browser

from stepscape.report.index import write_index
from stepscape.report.study import report_study
from stepscape.study.paths import Paths
from stepscape.study.spec import Study
from tests.browser.chromium import Visit, browser, install, what_is_missing
from tests.factories import SMALL_DIGITS, collected, judged_and_drawn, make_study

TITLE = "Steps & </script><script>window.harmed = true</script>"
_EVERY = {"losses": {"every": 1}, "hessian_top": {"every": 4, "k": 3}}
_DEFAULTS = {key: value for key, value in SMALL_DIGITS.items() if key not in ("lr", "optimizer")}
_TWO = {"hessian_subspace": {"every": 4, "k": 2}, "preconditioned_top": {"every": 4}}


@dataclass(frozen=True)
class Reported:
    """A study with its page.

    Attributes:
        study: the study.
        ds: its dataset.
        page: its page.
        index: the page of all studies.
    """

    study: Study
    ds: xr.Dataset
    page: Path
    index: Path


@pytest.fixture(scope="session")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Reported:
    """36 runs of two optimizers, three learning rates, two batch sizes and three seeds; nine more, some diverge."""
    folder = tmp_path_factory.mktemp("reported")
    adam = {"optimizer": {"name": "adam", "label": "adam <b>bold</b>"}, "observe": {**_EVERY, **_TWO}}
    study = make_study(
        folder,
        "hostile",
        title=TITLE,
        question="Is 1 < 2 & 3 > 2?",
        sources=["arXiv:2103.00065", "a book"],
        defaults={**_DEFAULTS, "model": {"name": "mlp", "hidden": [5], "activation": "relu"}},
        grid=[
            {"optimizer": "gd", "lr": [0.05, 0.1, 0.4], "batch_size": [8, "full"], "seed": [0, 1, 2]},
            {**adam, "lr": [0.001, 0.01, 0.1], "batch_size": [8, "full"], "seed": [0, 1, 2]},
            {"optimizer": "gd", "loss": "cross_entropy", "lr": [0.1, 0.5, 1e30], "seed": [0, 1, 2]},
        ],
        observe=_EVERY,
        claims=[
            {"id": "gd_at_the_edge", "name": "hovers_at_threshold", "where": {"optimizer": "gd", "loss": "mse"}},
            {"id": "all_at_the_edge", "name": "hovers_at_threshold"},
        ],
        figures=["loss_curves", {"name": "sharpness_over_threshold", "where": {"loss": "mse"}}],
    )
    paths = Paths(folder / "results")
    ds = collected(study, paths)
    judged_and_drawn(study, paths)
    return Reported(study, ds, report_study(study, paths), write_index(paths))


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """CI must have a browser; elsewhere what needs it is skipped where there can be none."""
    missing = what_is_missing()
    if missing and not os.environ.get("CI"):
        pytest.skip(missing)
    assert not missing, missing
    install()
    with browser() as started:
        yield started


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Callable[..., Visit]]:
    """Opens windows; the test fails if any page in them erred or asked for anything."""
    made: list[Visit] = []

    def new(width: int = 1440, scheme: str = "light", **options: object) -> Visit:
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **options)
        made.append(Visit(context.new_page()))
        return made[-1]

    yield new
    for one in made:
        one.page.context.close()
    assert [fault for one in made for fault in one.faults] == []
