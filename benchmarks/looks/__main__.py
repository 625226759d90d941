"""Which numbers on the pages of studies neither their look prints nor their study says: a list to read.

Run from the repository's root as `python -m benchmarks.looks`. Numbers of papers and counts of runs stay in the list; a
number of one digit is found nearly always.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path

from benchmarks.looks import say
from stepscape.study.paths import Paths

ROOT = Path(__file__).parents[2]
STUDIES = ROOT / "config/studies"
LOOKS = sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))

_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e-?\d+)?(?!\w)")
_NOT_TYPED = re.compile(r"\{\{.*?\}\}|`.*?`|^\d+\. ", re.DOTALL | re.MULTILINE)
"""What verdicts fill in, code, and the numbers of lists."""

_AROUND = 40


def untold(page: str, told: str) -> Iterator[str]:
    """The numbers typed on a page that a text lacks, each with the words around it.

    A number is told if one of the text, or a hundred times one (per cent), reads so when rounded to as many digits.

    Args:
        page: Markdown, with `{{ ... }}` where verdicts are filled in.
        told: what a look printed, and the study.

    Yields:
        A line a number.
    """
    values = [float(number) for number in _NUMBER.findall(told)]
    values += [100 * value for value in values]
    text = _NOT_TYPED.sub(lambda match: " " * len(match.group()), page)
    for match in _NUMBER.finditer(text):
        if not _is_among(match.group(), values):
            around = page[max(match.start() - _AROUND, 0) : match.end() + _AROUND]
            yield f"{match.group()}: ... {' '.join(around.split())} ..."


def _is_among(typed: str, values: Iterable[float]) -> bool:
    digits = len(typed.partition("e")[0].lstrip("-").lstrip("0.").replace(".", "")) or 1
    places = len(typed.partition(".")[2]) if "e" not in typed else 0
    return any(
        float(f"{value:.{digits}g}") == float(typed) or ("e" not in typed and round(value, places) == float(typed))
        for value in values
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the list, page by page."""
    parser = argparse.ArgumentParser(description="Lists numbers on pages that no look prints.")
    parser.add_argument("--results", type=Path, default=Path("results"), help="the results folder")
    say(_listed(Paths(parser.parse_args(arguments).results)))


def _listed(paths: Paths) -> Iterator[str]:
    for name in LOOKS:
        look = import_module(f"benchmarks.looks.{name}")
        told = [*look.lines(paths), *((STUDIES / f"{study}.yaml").read_text() for study in look.STUDIES)]
        yield f"config/studies/{name}.md"
        yield from (f"  {line}" for line in untold((STUDIES / f"{name}.md").read_text(), "\n".join(told)))


if __name__ == "__main__":
    main()
