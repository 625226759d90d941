"""Writes envs/constraints.txt and envs/stepscape.yaml from what is installed beside this interpreter (`make lock`)."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import distributions
from pathlib import Path

ENVS = Path(__file__).parent
# pip installs; stepscape is what the pins are for; torch pins its CUDA libraries itself, and CPU builds have none.
NOT_PINNED = re.compile(r"pip|stepscape|triton|(cuda|nvidia)-.*")

CONSTRAINTS = """\
# Written by `make lock`: do not edit. Every version that `make` installs, for Python 3.11 and 3.12, GPU and CPU.
{pins}
"""

CONDA = """\
# Written by `make lock`: do not edit. For `snakemake --sdm conda` and for people who work in conda; see README.md here.
# The packages are pip's, the same files that `make` installs: other builds of torch round differently, and at the edge
# of stability the last bit decides. Without a GPU, the index of CPU builds saves gigabytes: uncomment its line.
name: stepscape
channels:
  - conda-forge
  - nodefaults
dependencies:
  - python=3.12
  - pip
  - pip:
      # - --extra-index-url https://download.pytorch.org/whl/cpu
{pins}
"""


def canonical(name: str) -> str:
    """The one spelling of a distribution's name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed() -> dict[str, str]:
    """Versions by name, without local parts: torch 2.13.0+cpu and 2.13.0 are one pin."""
    versions = {canonical(found.name): found.version.partition("+")[0] for found in distributions()}
    return {name: versions[name] for name in sorted(versions) if not NOT_PINNED.fullmatch(name)}


def direct() -> list[str]:
    """The names of what running Stepscape asks for by name, and of what builds it."""
    project = tomllib.loads((ENVS.parent / "pyproject.toml").read_text(encoding="utf-8"))
    asked = project["build-system"]["requires"] + project["project"]["dependencies"]
    return sorted(canonical(re.split(r"[^\w.-]", requirement, maxsplit=1)[0]) for requirement in asked)


def main() -> None:
    """Writes both files."""
    versions = installed()
    pins = "\n".join(f"{name}=={version}" for name, version in versions.items())
    (ENVS / "constraints.txt").write_text(CONSTRAINTS.format(pins=pins), encoding="utf-8")
    pins = "\n".join(f"      - {name}=={versions[name]}" for name in direct())
    (ENVS / "stepscape.yaml").write_text(CONDA.format(pins=pins), encoding="utf-8")
    print(f"{len(versions)} pins in envs/constraints.txt, {len(direct())} in envs/stepscape.yaml")


if __name__ == "__main__":
    main()
