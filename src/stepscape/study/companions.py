"""The files that a study is made of: its own, the one that it extends, what was found, points, parameters."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from pathlib import Path

from stepscape.errors import FileError, Mistake
from stepscape.study.extension import read_study
from stepscape.study.spec import Study

FOLDER = "config/studies"
"""Where studies lie in a checkout."""


def study_files(study: Study) -> dict[str, Path]:
    """Where the files of a study belong in a checkout.

    Args:
        study: the study.

    Returns:
        Path from the root of a checkout, to the file; the study's own comes first.

    Raises:
        FileError: it names a file that lies outside the checkout.
    """
    found = {f"{FOLDER}/{study.name}.yaml": study.path}
    mistakes = []
    for where, file in _named(study):
        place = _place(study, file)
        if place is None:
            remedy = f"move it into {study.path.parent}, and name it as seen from there"
            mistakes.append(Mistake(where, str(file), f"a file beside {study.path.name} or below", remedy))
        else:
            found[place] = file
    if mistakes:
        raise FileError(study.path, mistakes)
    return found


def _named(study: Study) -> Iterator[tuple[str, Path]]:
    source = read_study(study.path)
    if source.base:
        yield "extends", source.base
    if (findings := study.path.with_suffix(".md")).is_file():
        yield "findings", findings
    for index, block in enumerate(source.given["grid"]):
        if "points" in block:
            yield f"grid[{index}].points", study.path.parent / str(block["points"])
    for file in study.start_files:
        yield "start.file", file


def _place(study: Study, file: Path) -> str | None:
    """Where a file belongs beside the study in `config/studies`; None where that is outside of `config`."""
    try:
        place = posixpath.normpath(f"{FOLDER}/{file.relative_to(study.path.parent).as_posix()}")
    except ValueError:
        return None
    return place if place.startswith("config/") else None
