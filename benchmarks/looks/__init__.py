"""Looks: the numbers that the pages of studies say beside their verdicts, one module a page.

Run from the repository's root, such as `python -m benchmarks.looks.class_imbalance`; docs/add_study.md says what for.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

import stepscape
from stepscape.analysis.bootstrap import Interval
from stepscape.errors import StepscapeError


def look(studies: Sequence[str], lines: Callable[..., Iterator[str]], arguments: Sequence[str] | None = None) -> None:
    """Prints what a look finds in the results of some studies, or ends with words where one has no results.

    Args:
        studies: their names, the page's own first.
        lines: takes their datasets, in this order, runs sorted by seed, and yields what is printed.
        arguments: of the command line.
    """
    parser = argparse.ArgumentParser(description=f"Prints the numbers of config/studies/{studies[0]}.md.")
    parser.add_argument("--results", type=Path, default=Path("results"), help="the results folder")
    results = parser.parse_args(arguments).results
    for line in lines(*[_opened(results, study) for study in studies]):
        print(line)


def _opened(results: Path, study: str) -> xr.Dataset:
    try:
        return stepscape.open_study(results / "studies" / study).load().sortby("seed")
    except StepscapeError as error:
        sys.exit(f"{error}\nTo make it: snakemake --cores 2 --config studies={study}")


def listed(values: Iterable[float], digits: int = 2) -> str:
    """Numbers in their order, to some significant digits."""
    return ", ".join(f"{value:.{digits}g}" for value in values)


def span(values: Iterable[float], digits: int = 2) -> str:
    """The smallest and the largest of some numbers, NaN left out; one number where both read alike."""
    finite = [value for value in np.ravel(list(values)) if np.isfinite(value)]
    if not finite:
        return "none"
    low, high = (f"{value:.{digits}g}" for value in (min(finite), max(finite)))
    return low if low == high else f"{low} to {high}"


def with_interval(found: Interval, digits: int = 2) -> str:
    """A number and its interval, as pages write them."""
    value, low, high = (f"{number:.{digits}f}" for number in (found.value, found.low, found.high))
    return f"{value} [{low}, {high}]"
