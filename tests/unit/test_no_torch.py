"""Planning needs no torch and nothing heavy: Snakemake parses its rules again in every job."""

from __future__ import annotations

from pathlib import Path

from stepscape.registry import KINDS
from tests.planning import ROOT, run_python

HEAVY = ("torch", "xarray", "zarr", "seaborn", "matplotlib", "sklearn", "scipy", "pandas", "dask")
BLOCK = f"""
import sys

class Blocked:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY}:
            raise ImportError(f"{{name}} is blocked")

sys.meta_path.insert(0, Blocked)
"""


def modules_of(*folders: str) -> list[str]:
    """The modules in folders of the package, private ones too."""
    source = ROOT / "src" / "stepscape"
    files = [file for folder in folders for file in sorted((source / folder).glob("*.py"))]
    return [".".join(["stepscape", *file.relative_to(source).with_suffix("").parts]) for file in files]


def test_the_block_blocks() -> None:
    code = "\ntry:\n    import torch\nexcept ImportError as error:\n    print(error)\n"
    assert run_python(BLOCK + code) == "torch is blocked\n"


def test_every_member_and_all_that_plans_imports_without_them() -> None:
    modules = modules_of("study", "cluster", *KINDS.values())
    assert len(modules) > 30
    imports = "".join(f"import {module.removesuffix('.__init__')}\n" for module in modules)
    assert run_python(f"{BLOCK}{imports}print('fine')") == "fine\n"


def test_what_the_snakefile_imports_needs_none_of_them() -> None:
    lines = [line.strip() for line in (ROOT / "Snakefile").read_text().splitlines()]
    imports = [line for line in lines if line.startswith(("from stepscape", "import stepscape"))]
    assert len(imports) >= 4
    assert run_python("\n".join([BLOCK, *imports, "print('fine')"])) == "fine\n"


def test_a_study_is_planned_without_them(tmp_path: Path) -> None:
    code = (
        "from stepscape.study.config import load_plan, read_config\n"
        "from stepscape.study.fingerprint import of_claims, of_dataset, of_figure\n"
        "from stepscape.study.reference import reference_texts\n"
        "plan = load_plan(read_config().studies)\n"
        "reference_texts()\n"
        "for study in plan.studies:\n"
        "    of_dataset(study), of_claims(study), [of_figure(study, figure.id) for figure in study.figures]\n"
        "print(len(plan.runs) > 0, len(plan.packs) > 0)\n"
    )
    assert run_python(BLOCK + code) == "True True\n"
