"""Looks: the numbers that the pages of studies say beside their verdicts, one module a page.

Run from the repository's root, such as `python -m benchmarks.looks.class_imbalance`; docs/add_study.md says what for.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

import stepscape
from stepscape.analysis.bootstrap import Interval
from stepscape.errors import StepscapeError
from stepscape.study.paths import Paths


def look(study: str, lines: Callable[[Paths], Iterator[str]], arguments: Sequence[str] | None = None) -> None:
    """Prints what a look finds.

    Args:
        study: whose page it is for.
        lines: yields what is printed, given where results lie.
        arguments: of the command line.
    """
    parser = argparse.ArgumentParser(description=f"Prints the numbers of config/studies/{study}.md.")
    parser.add_argument("--results", type=Path, default=Path("results"), help="the results folder")
    say(lines(Paths(parser.parse_args(arguments).results)))


def say(lines: Iterable[str]) -> None:
    """Prints lines as they come, until the reader, such as `head`, has seen enough."""
    try:
        for line in lines:
            print(line, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def opened(paths: Paths, study: str) -> xr.Dataset:
    """The dataset of a study, in memory, runs sorted by seed; without one the command ends and says what makes it."""
    try:
        return stepscape.open_study(paths.root / "studies" / study).load().sortby("seed")
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
