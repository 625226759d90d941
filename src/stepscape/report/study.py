"""A study's page, from its results."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr
import yaml

from stepscape.archive.provenance import Checkout
from stepscape.errors import StepscapeError, counted
from stepscape.registry import Member
from stepscape.report.costs import Costs, costs_of
from stepscape.report.explorer import explore
from stepscape.report.figures import inline_svg
from stepscape.report.grid import column, grid_in_words, grid_rows, settings_of
from stepscape.report.rendering import render
from stepscape.store.collect import open_study
from stepscape.store.files import read_json, write_atomically
from stepscape.study.paths import Paths
from stepscape.study.spec import Entry, Study

_ROWS = 50
"""Rows of the run table that are there without scripts."""
_REMEDY = "Start Snakemake: it makes what is missing or out of date"


def report_study(study: Study, paths: Paths) -> Path:
    """Writes the page of a study.

    Args:
        study: the study.
        paths: where results lie.

    Returns:
        The page.

    Raises:
        StepscapeError: results are missing or out of date; what was there before is kept.
    """
    with open_study(paths.study(study.name)) as ds:
        devices = devices_of(ds)
    target = paths.report(study.name)
    write_atomically(target, page_of(study, paths, costs_of(study, paths, devices)))
    return target


def page_of(study: Study, paths: Paths, costs: Costs, checkout: Checkout | None = None) -> bytes:
    """The page of a study. The same results, costs and code give the same bytes.

    Args:
        study: the study.
        paths: where results lie.
        costs: what receipts tell; `Costs()` leaves that part out.
        checkout: where the code comes from; default: where this is running from.

    Returns:
        HTML.

    Raises:
        StepscapeError: results are missing or out of date.
    """
    checkout = checkout or Checkout()
    with open_study(paths.study(study.name)) as ds:
        if sorted(column(ds, "run")) != sorted(run.id for run in study.runs):
            raise StepscapeError(f"{paths.dataset(study.name)}: its runs are not those of {study.path}\n{_REMEDY}.")
        claims = _claims(study, paths)
        explored = explore(ds, {entry.id: [run.id for run in study.pick(entry)] for entry in study.claims})
        context = {
            "study": study,
            "grid": {"sentence": grid_in_words(ds), "rows": grid_rows(ds)},
            "counts": _counts(ds, claims),
            "claims": claims,
            "figures": [_figure(study, entry, paths) for entry in study.figures],
            "endings": _endings(ds),
            "costs": costs,
            "provenance": _provenance(ds, checkout),
            "citation": _citation(checkout),
            "table": _table(explored.head),
        }
    return render("report.html", context, {"head": json.dumps(explored.head, separators=(",", ":")), **explored.blobs})


def devices_of(ds: xr.Dataset) -> dict[str, str]:
    """Run id to the device that trained it, as the dataset says."""
    platforms = [json.loads(platform).get("device", "unknown device") for platform in ds.attrs["platforms"]]
    places = ds["platform"].values.tolist() if "platform" in ds.coords else [0] * ds.sizes["run"]
    return {run: platforms[place] for run, place in zip(column(ds, "run"), places, strict=True)}


def _claims(study: Study, paths: Paths) -> list[dict[str, Any]]:
    if not study.claims:
        return []
    content = read_json(paths.claims(study.name))
    claims = list(content.get("claims", [])) if isinstance(content, dict) else []
    if [claim["id"] for claim in claims] != [entry.id for entry in study.claims]:
        raise StepscapeError(
            f"{paths.claims(study.name)}: missing, or its claims are not those of {study.path}\n{_REMEDY}."
        )
    for claim in claims:
        parts = {part: count for part, count in claim["runs"].items() if part != "judged"}
        claim["judged_on"] = ", ".join(f"{count} {part}" for part, count in parts.items())
    return claims


def _counts(ds: xr.Dataset, claims: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "runs": ds.sizes["run"],
        "endings": [(how.replace("_", " "), count) for how, count in sorted(Counter(column(ds, "status")).items())],
        "verdicts": Counter(claim["verdict"] for claim in claims),
    }


def _figure(study: Study, entry: Entry[Any], paths: Paths) -> dict[str, str]:
    path = paths.figure(study.name, entry.id, "svg")
    if not path.is_file():
        raise StepscapeError(f"{path}: missing\n{_REMEDY}.")
    caption = _told(entry.member)
    optimizers = sorted({run.optimizer.name for run in study.pick(entry)})
    drawn = f"Drawn of {counted(len(study.pick(entry)), 'run')} of {', '.join(optimizers)}."
    title = entry.id.replace("_", " ")
    svg = inline_svg(path.read_bytes(), f"figure-{entry.id}", title, f"{caption} {drawn}")
    return {"id": entry.id, "title": title.capitalize(), "caption": caption, "drawn": drawn, "svg": svg}


def _told(member: Member) -> str:
    """What a member says of itself: its docstring, in one line."""
    return " ".join((type(member).__doc__ or "").split())


def _endings(ds: xr.Dataset) -> list[dict[str, Any]]:
    """What did not complete: for each setting, learning rate and batch size how many runs, and when the first ended."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    status, steps = column(ds, "status"), ds.n_steps.values
    for setting in settings_of(ds):
        for run in setting.runs:
            if status[run] == "completed":
                continue
            lr, full = float(ds.lr.values[run]), bool(ds.full_batch.values[run])
            batch = "full" if full else f"{ds.batch_size.values[run]:g}"
            what = ", ".join(word.replace("_", " ") for word in setting.words.values())
            key = (status[run], what, f"{lr:g}", batch)
            entry = found.setdefault(key, {"runs": 0, "first": int(steps[run]), "last": int(steps[run])})
            entry["runs"] += 1
            entry["first"], entry["last"] = min(entry["first"], int(steps[run])), max(entry["last"], int(steps[run]))
    keys = ("status", "what", "lr", "batch")
    return [{**dict(zip(keys, key, strict=True)), **told} for key, told in found.items()]


def _provenance(ds: xr.Dataset, checkout: Checkout) -> dict[str, Any]:
    platforms = [json.loads(platform) for platform in ds.attrs["platforms"]]
    of = list(devices_of(ds).values())
    return {
        **checkout.record(),
        "platforms": [{key: value for key, value in record.items() if value is not None} for record in platforms],
        "devices": dict(sorted(Counter(of).items())),
        "run_files": ds.attrs["run_files_sha256"],
    }


def _citation(checkout: Checkout) -> dict[str, Any]:
    file = checkout.file("CITATION.cff")
    given = yaml.safe_load(file.read_text()) if file else {}
    authors = [author.get("name") or " ".join(author.values()) for author in given.get("authors", [])]
    return {"title": given.get("title", "Stepscape"), "authors": ", ".join(authors) or "The Stepscape developers"}


def _table(head: Mapping[str, Any]) -> dict[str, Any]:
    """The first rows of the run table, as the page's script would write them."""
    axes = {key: [axis["levels"][place] for place in axis["of"]] for key, axis in head["axes"].items()}
    columns = {**axes, **{one["name"]: one["values"] for one in head["columns"]}}
    rows = [
        [head["runs"][run], *("" if values[run] is None else values[run] for values in columns.values())]
        for run in range(min(_ROWS, len(head["runs"])))
    ]
    return {"columns": ["run", *columns], "rows": rows, "of": len(head["runs"])}
