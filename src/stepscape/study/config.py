"""This checkout's choices: which studies, on which device, where results go."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass as typed_dataclass

from stepscape.errors import FileError, Mistake, Mistaken, listed, nearest
from stepscape.fields import Text, describe
from stepscape.study.checking import fill, read_checked
from stepscape.study.parents import check_outer_starts
from stepscape.study.paths import DataPaths, Paths
from stepscape.study.plan import Plan, make_plan
from stepscape.study.spec import Study, load_study

CONFIG = Path("config/config.yaml")
STUDIES = Path("config/studies")
_CONFIGURATION = f"{CONFIG} and --config"


def _several(names: Any) -> Any:
    return (names,) if isinstance(names, str) else names


@typed_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Config:
    """The keys of `config/config.yaml`."""

    studies: Annotated[
        tuple[Text, ...], BeforeValidator(_several), Field(min_length=1), describe("names of files in `config/studies`")
    ]
    results: Annotated[Text, Field(min_length=1), describe("the folder that everything produced goes to")] = "results"
    data_root: Annotated[
        Text, Field(min_length=1), describe("the folder of published archives, what is made of them, and users' files")
    ] = "data"
    device: Annotated[
        Literal["cpu", "cuda", "auto"], describe("where runs train; `auto` is a GPU where the job can use one")
    ] = "auto"

    @property
    def paths(self) -> Paths:
        """Where everything lies."""
        return Paths(Path(self.results), DataPaths(Path(self.data_root)))


def read_config(path: Path = CONFIG) -> Config:
    """Reads the configuration of a checkout.

    Args:
        path: the YAML file.

    Returns:
        The configuration.

    Raises:
        FileError: with all its mistakes.
    """
    return read_checked(path, make_config)


def make_config(given: Any) -> Config:
    """Checks a configuration, as read from a file or as Snakemake holds it; one study may be given as its name alone.

    Args:
        given: a mapping of the keys of `Config`.

    Returns:
        The configuration.

    Raises:
        Mistaken: with all that is wrong.
    """
    return fill(Config, given, of=_CONFIGURATION)


def study_path(name: str, folder: Path = STUDIES) -> Path:
    """The file of a study, by its name or its own path.

    Args:
        name: such as `first_sweep`, or the path of a YAML file.
        folder: where studies lie.

    Returns:
        The file.

    Raises:
        Mistaken: there is no such study.
    """
    if name.endswith((".yaml", ".yml")) and Path(name).is_file():
        return Path(name)
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = [entry.stem for entry in folder.glob("*.yaml")]
        allowed = f"those in {folder} ({listed(known)}), or the path of a YAML file"
        raise Mistaken([Mistake("studies", f"unknown study {name!r}", allowed, nearest(name, known))], of="studies")
    return path


def load_plan(names: Sequence[str], results: Paths | None = None) -> Plan:
    """Reads the selected studies and groups their runs into packs.

    Args:
        names: the studies, by name or path; the same file twice is one study.
        results: where runs may lie that selected ones start from, though no selected study has them.

    Returns:
        The plan.

    Raises:
        Mistaken: with the mistakes of all of them.
    """
    found: dict[Path, Study] = {}
    faults: list[Mistaken] = []
    for name in dict.fromkeys(names):
        try:
            path = study_path(name)
            if path.resolve() not in found:
                found[path.resolve()] = load_study(path)
        except Mistaken as error:
            faults.append(error)
    faults += _namesakes(found.values())
    faults += check_outer_starts(found.values(), results)
    if faults:
        told = Mistaken(mistake for fault in faults for mistake in fault.mistakes)
        told.args = ("\n".join(map(str, faults)),)
        raise told
    return make_plan(list(found.values()))


def _namesakes(studies: Collection[Study]) -> list[Mistaken]:
    first: dict[str, Study] = {}
    for study in studies:
        first.setdefault(study.name, study)
    return [
        FileError(
            study.path,
            [Mistake("", f"the name of {first[study.name].path} too", "a name of its own: results lie under it")],
        )
        for study in studies
        if first[study.name] is not study
    ]
