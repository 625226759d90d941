"""The page that leads to those of all studies in a results folder."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from stepscape.archive.contents import read_table
from stepscape.report.rendering import render
from stepscape.store.files import read_json, write_atomically
from stepscape.study.paths import Paths


def write_index(paths: Paths) -> Path:
    """Writes the index of the studies whose pages are in a results folder, whichever are selected now.

    Args:
        paths: where results lie.

    Returns:
        The page.
    """
    names = sorted(page.parent.name for page in paths.studies.glob(f"*/{paths.report('').name}"))
    studies = [_told(name, paths) for name in names]
    write_atomically(paths.index, render("index.html", {"studies": studies}))
    return paths.index


def _told(name: str, paths: Paths) -> dict[str, Any]:
    marker = read_json(paths.dataset_marker(name)) or {}
    claims = (read_json(paths.claims(name)) or {}).get("claims", [])
    table = paths.table(name)
    rows = read_table(table.read_bytes()) if table.is_file() else []
    attributes = marker.get("attributes", {})
    return {
        "name": name,
        "page": paths.report(name).relative_to(paths.studies).as_posix(),
        "title": attributes.get("title", name),
        "question": attributes.get("question", ""),
        "runs": len(rows),
        "endings": sorted(Counter(row["status"] for row in rows).items()),
        "claims": claims,
        "claimed": len(claims),
    }
