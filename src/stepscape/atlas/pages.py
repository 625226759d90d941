"""Writing the atlas from results: no number in it is typed by hand."""

from __future__ import annotations

import csv
import io
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from stepscape import __version__
from stepscape.atlas.findings import Told, render_findings
from stepscape.atlas.templates import render
from stepscape.errors import StepscapeError, counted
from stepscape.store.files import read_json, write_atomically
from stepscape.study.config import load_plan, read_config
from stepscape.study.paths import Paths
from stepscape.study.spec import Study

CONFIG = Path("config/atlas.yaml")
"""Which studies the atlas is made of."""
ATLAS = Path("docs/atlas")

_REMEDY = "`make atlas` runs the studies, then writes the pages."


def write_atlas(config: Path = CONFIG, folder: Path = ATLAS) -> list[Path]:
    """Writes the table of claims and a page a study, with figures, from results.

    Args:
        config: a configuration that selects studies.
        folder: where the pages go; what the command wrote there before is replaced.

    Returns:
        The pages.

    Raises:
        StepscapeError: results are missing or of another version of a study, or the findings of one name no claim of
            its own; nothing is written then.
    """
    settings = read_config(config)
    plan = load_plan(settings.studies, settings.paths)
    chapters = [Chapter(study, settings.paths) for study in plan.studies]
    if faults := [fault for chapter in chapters for fault in chapter.faults()]:
        raise StepscapeError("\n".join([*faults, _REMEDY]))
    pages = {f"{chapter.study.name}.md": chapter.page() for chapter in chapters}
    pages["README.md"] = _index(chapters)
    figures = folder / "figures"
    if figures.exists():
        shutil.rmtree(figures)
    for chapter in chapters:
        for entry in chapter.study.figures:
            content = settings.paths.figure(chapter.study.name, entry.id, "png").read_bytes()
            write_atomically(folder / chapter.figure(entry.id), content)
    for name, page in pages.items():
        write_atomically(folder / name, page.encode())
    return [folder / name for name in pages]


@dataclass(frozen=True)
class Chapter:
    """A study and its results.

    Attributes:
        study: the study.
        paths: where results lie.
    """

    study: Study
    paths: Paths

    @cached_property
    def claims(self) -> Sequence[Told]:
        """What the claims came to, in the order of the study."""
        held = read_json(self.paths.claims(self.study.name)) or {}
        return [Told(claim) for claim in held.get("claims", [])]

    @cached_property
    def rows(self) -> Sequence[Mapping[str, str]]:
        """The table of runs."""
        return list(csv.DictReader(io.StringIO(self.paths.table(self.study.name).read_text())))

    def faults(self) -> list[str]:
        """What keeps the page from being written."""
        name = self.study.name
        figures = [self.paths.figure(name, entry.id, "png") for entry in self.study.figures]
        files = [self.paths.table(name), *([self.paths.claims(name)] if self.study.claims else []), *figures]
        if missing := [f"{file}: not there" for file in files if not file.is_file()]:
            return missing
        if {row["run"] for row in self.rows} != {run.id for run in self.study.runs}:
            return [f"{self.paths.table(name)}: its runs are not those of {self.study.path}"]
        if [claim.id for claim in self.claims] != [entry.id for entry in self.study.claims]:
            return [f"{self.paths.claims(name)}: its claims are not those of {self.study.path}"]
        return []

    def figure(self, figure: str) -> str:
        """Where a figure lies, as seen from the pages."""
        return f"figures/{self.study.name}.{figure}.png"

    @property
    def runs(self) -> str:
        """How many runs there are, and how those ended that did not complete, in words."""
        ended = Counter(row["status"].replace("_", " ") for row in self.rows)
        other = [f"{number} {status}" for status, number in sorted(ended.items()) if status != "completed"]
        return ", ".join([counted(len(self.rows), "run"), *other])

    def page(self) -> str:
        """The page of the study."""
        from stepscape.store.collect import open_study

        ds = open_study(self.paths.study(self.study.name))
        return render(
            "study.md",
            study=self.study,
            chapter=self,
            figures=[(entry.id, self.figure(entry.id), _summary(entry.member)) for entry in self.study.figures],
            platforms=ds.attrs["platforms"],
            findings=render_findings(self.study, self.claims),
        )


def _summary(member: Any) -> str:
    return (type(member).__doc__ or "").split("\n\n")[0].replace("\n", " ").strip()


def _index(chapters: Sequence[Chapter]) -> str:
    verdicts = Counter(claim.verdict for chapter in chapters for claim in chapter.claims)
    return render("index.md", chapters=chapters, verdicts=verdicts, version=__version__)
