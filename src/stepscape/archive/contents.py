"""What an archive holds: the study, its results, and where they come from."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepscape import __version__
from stepscape.archive import crate
from stepscape.archive.bag import is_portable, write_bag
from stepscape.archive.provenance import Checkout
from stepscape.errors import StepscapeError, counted
from stepscape.report.costs import Costs
from stepscape.report.study import page_of
from stepscape.store.checksums import checksum_faults
from stepscape.store.files import replacing
from stepscape.store.verify import file_fault
from stepscape.study.companions import study_files
from stepscape.study.paths import Paths
from stepscape.study.spec import Study

RESULTS = Paths(Path("results"))
"""Where results lie in an archive, whatever their folder was called."""

_MOST_SHOWN = 8
_TYPES = {
    ".csv": "text/csv",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".html": "text/html",
}
_README = """\
# {title}

Results of the study `{name}`, made by Stepscape {version}: {runs}, one labelled dataset, verdicts, figures.

- `results/studies/{name}/`: `report.html`, the page to begin with; the dataset, `runs.csv` (one row a run),
  `claims.json`, figures
- `results/runs/`: one file a run, with all that was recorded of it
- `config/studies/`: the study
- `provenance.json`, `changes.diff`: the commit of the code, and how the code differed from it
- `envs/constraints.txt`: the versions of all packages; `CITATION.cff`: how to cite the software

The zip is uncompressed, so it can be read where it is, with no software but xarray, zarr and fsspec:

    xarray.open_zarr("zip://{name}/data/results/studies/{name}/dataset.zarr::{name}.zip", chunks=None)

It is a bag (BagIt 1.0, RFC 8493): `sha256sum --check manifest-sha256.txt` in the unpacked folder checks every file.
`stepscape verify {name}.zip` checks them and the zip around them, `stepscape replay --archive {name}.zip RUN` trains
a run again and compares, and `stepscape unpack {name}.zip FOLDER` lays out a folder that Snakemake takes as finished.
"""


@dataclass(frozen=True)
class _Part:
    """A file of an archive: what it holds or where that is, and how it is described; folders are described as one."""

    content: Path | bytes
    described: str = ""


def archive_study(study: Study, paths: Paths, output: Path | None = None, checkout: Checkout | None = None) -> Path:
    """Writes all results of a study into one file. The same results and code give the same bytes.

    Args:
        study: the study.
        paths: where results lie.
        output: the archive; default: the study's name under `archives`.
        checkout: where the code comes from; default: where this is running from.

    Returns:
        The archive.

    Raises:
        StepscapeError: results are missing, damaged or out of date; what was there before is kept.
        StorageError: the archive cannot be written; likewise.
    """
    checkout = checkout or Checkout()
    output = output or paths.archive(study.name)
    results = _results(study, paths)
    _check_present(study, paths, results)
    _check_study(study, paths, results)
    results[_name(RESULTS.report(study.name))] = _Part(page_of(study, paths, Costs(), checkout), "a page to read")
    parts = _around(study, checkout) | results
    payload = {name: part.content for name, part in parts.items()}
    payload[crate.NAME] = crate.crate(study, checkout, _described(parts), _described(results))
    info = {
        "Bag-Software-Agent": f"stepscape {__version__}",
        "Bagging-Date": checkout.date,
        "External-Identifier": study.name,
        "External-Description": study.title,
    }
    try:
        with replacing(output) as file:
            sums = write_bag(file, study.name, payload, info)
            _check_agreement(study, paths, results, sums)
    except OSError as error:
        raise StepscapeError(f"{error.filename or output}: {(error.strerror or str(error)).lower()}") from None
    return output


def _results(study: Study, paths: Paths) -> dict[str, _Part]:
    files = {RESULTS.run(run.id): paths.run(run.id) for run in study.runs}
    dataset = paths.dataset(study.name)
    inside = [path.relative_to(dataset) for path in sorted(dataset.rglob("*")) if path.is_file()]
    files |= {RESULTS.dataset(study.name) / path: dataset / path for path in inside}
    parts = {_name(path): _Part(file) for path, file in files.items()}
    parts[_name(RESULTS.dataset_marker(study.name))] = _Part(_held(paths.dataset_marker(study.name)))
    parts[_name(RESULTS.checksums(study.name))] = _Part(paths.checksums(study.name), "SHA-256 of dataset and table")
    parts[_name(RESULTS.table(study.name))] = _Part(_held(paths.table(study.name)), "one row a run")
    if study.claims:
        parts[_name(RESULTS.claims(study.name))] = _Part(_held(paths.claims(study.name)), "verdicts")
    for figure in study.figures:
        for ending in ("svg", "png"):
            file = paths.figure(study.name, figure.id, ending)
            parts[_name(RESULTS.figure(study.name, figure.id, ending))] = _Part(file, f"figure {figure.id}")
    return parts


def _name(path: Path) -> str:
    return path.as_posix()


def _held(path: Path) -> Path | bytes:
    """What a file holds now, for those that are looked into: what is archived is what was looked at."""
    return path.read_bytes() if path.is_file() else path


def _around(study: Study, checkout: Checkout) -> dict[str, _Part]:
    words = {"title": study.title, "name": study.name, "version": __version__, "runs": counted(len(study.runs), "run")}
    record = {**checkout.record(), "lock": "envs/constraints.txt" if checkout.file("envs/constraints.txt") else None}
    parts = {
        "README.md": _Part(_README.format(**words).encode(), "what this is"),
        "provenance.json": _Part((json.dumps(record, indent=1) + "\n").encode(), "the code that made the results"),
    }
    if checkout.changes:
        parts["changes.diff"] = _Part(checkout.changes, "how the code differed from its commit")
    for name, described in (("envs/constraints.txt", "versions of all packages"), ("CITATION.cff", "how to cite")):
        if file := checkout.file(name):
            parts[name] = _Part(file, described)
    for place, file in study_files(study).items():
        if not is_portable(place):
            raise StepscapeError(f"{file}: a name with %, :, \\ or control characters; rename it, and archive again")
        parts[place] = _Part(file, "the study" if file == study.path else "read by the study")
    return parts


def _described(parts: Mapping[str, _Part]) -> dict[str, tuple[str, str]]:
    told = {name: (_TYPES.get(Path(name).suffix, "text/plain"), part.described) for name, part in parts.items()}
    found = {name: told for name, told in told.items() if told[1]}
    for name in parts:
        head, dataset, _ = name.partition("/dataset.zarr/")
        if dataset:
            found[f"{head}{dataset}"] = ("", "the labelled dataset, a Zarr store")
        if name.startswith(f"{RESULTS.runs.as_posix()}/"):
            found[f"{RESULTS.runs.as_posix()}/"] = ("", "one file a run, each a Zarr store in a zip")
    return found


# ------------------------------------------------------------------------------------------------- what must be so


def _check_present(study: Study, paths: Paths, results: Mapping[str, _Part]) -> None:
    files = [part.content for part in results.values() if isinstance(part.content, Path)]
    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        heading = f"{study.path}: {counted(len(missing), 'file')} of its results missing"
        raise StepscapeError(f"{heading}\n{_shown(missing)}\n{_REMEDY}")
    if damaged := list(checksum_faults(paths.study(study.name))):
        remedy = f"Delete {paths.dataset(study.name)} and start Snakemake: it makes it again; then archive again."
        raise StepscapeError("\n".join([*damaged, remedy]))


def _check_study(study: Study, paths: Paths, results: Mapping[str, _Part]) -> None:
    """That table and verdicts are of this study."""
    rows = [row["run"] for row in read_table(_content(results, RESULTS.table(study.name)))]
    if sorted(rows) != sorted(run.id for run in study.runs):
        raise StepscapeError(f"{paths.table(study.name)}: its runs are not those of {study.path}\n{_REMEDY}")
    claims = _fields(_content(results, RESULTS.claims(study.name))).get("claims", []) if study.claims else []
    if [claim["id"] for claim in claims] != [entry.id for entry in study.claims]:
        raise StepscapeError(f"{paths.claims(study.name)}: its claims are not those of {study.path}\n{_REMEDY}")


def _check_agreement(study: Study, paths: Paths, results: Mapping[str, _Part], sums: Mapping[str, str]) -> None:
    """That the dataset is of the run files that were archived."""
    rows = [row["run"] for row in read_table(_content(results, RESULTS.table(study.name)))]
    contents = hashlib.sha256("\n".join(sums[_name(RESULTS.run(run))] for run in rows).encode()).hexdigest()
    attributes = _fields(_content(results, RESULTS.dataset_marker(study.name))).get("attributes", {})
    if attributes.get("run_files_sha256") != contents:
        _name_damaged(paths.run(run.id) for run in study.runs)
        raise StepscapeError(f"{paths.dataset(study.name)}: not made of the run files that are there now\n{_REMEDY}")


def _content(results: Mapping[str, _Part], path: Path) -> bytes:
    content = results[_name(path)].content
    assert isinstance(content, bytes)
    return content


def read_table(content: bytes) -> list[dict[str, str]]:
    """The rows of a `runs.csv`, one a run."""
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


def _fields(content: bytes) -> dict[str, Any]:
    try:
        return dict(json.loads(content))
    except ValueError:
        return {}


_REMEDY = "Start Snakemake: it makes what is missing or out of date; then archive again."


def _name_damaged(files: Iterable[Path]) -> None:
    faults = [str(fault) for fault in map(file_fault, files) if fault]
    if faults:
        remedy = "Delete them and start Snakemake: it trains these runs again; then archive again."
        raise StepscapeError(f"{_shown(faults)}\n{remedy}")


def _shown(lines: list[str]) -> str:
    more = len(lines) - _MOST_SHOWN
    return "\n".join([f"  {line}" for line in lines[:_MOST_SHOWN]] + ([f"  and {more} more"] if more > 0 else []))
