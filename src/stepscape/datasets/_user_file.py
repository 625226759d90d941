"""Datasets of a user's file: a study names it, a run holds a hash of its content, jobs read a copy named by that."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import ConfigDict, model_validator
from pydantic.dataclasses import dataclass as typed_dataclass
from pydantic_core import PydanticCustomError

from stepscape.datasets import Dataset
from stepscape.datasets._root import data_paths
from stepscape.errors import DamagedFileError, StepscapeError
from stepscape.fields import Text, describe
from stepscape.registry import non_defaults

FOUND = "found in the file, not given: "


@typed_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class UserFile(Dataset):
    """The base of datasets of a user's file.

    Attributes:
        is_found: names of the fields that the file decides, not the study.
    """

    path: Annotated[Text | None, describe("the file, as seen from the study; the run id holds its content")] = None
    content: Annotated[Text | None, describe(f"{FOUND}a hash of its content")] = None

    @model_validator(mode="after")
    def _is_named_or_found(self) -> Self:
        given = sorted(non_defaults(self).keys() & self.is_found())
        if self.path is not None and given:
            told = {"given": ", ".join(given)}
            raise PydanticCustomError("found", "`path` without {given}, which is found in the file", told)
        if self.path is None and self.content is None:
            raise PydanticCustomError("path", "a `path`")
        return self

    @classmethod
    def is_found(cls) -> frozenset[str]:
        """Names of the fields that the file decides."""
        return frozenset({"content"})

    def found(self, path: Path, where: str) -> Self:
        """This dataset with what the file decides in the place of its path.

        Args:
            path: the file.
            where: its key path in the study.

        Returns:
            The dataset, as runs hold it.

        Raises:
            Mistaken: there is no such file, or it does not hold what it must.
        """
        raise NotImplementedError

    def copied(self, path: Path) -> bytes:
        """The content of the copy of a file, from which `load` reads."""
        raise NotImplementedError

    def copy(self) -> Path:
        """Where the copy lies that jobs read.

        Returns:
            The file.

        Raises:
            StepscapeError: it is not there.
        """
        assert self.content is not None
        path = data_paths().file(self.content)
        if not path.exists():
            raise StepscapeError(
                f"{path}: not there; it is the copy of a user's file, made when Snakemake starts with a study that "
                "names that file. `data_root` in config/config.yaml says where data lie"
            )
        return path

    def damaged(self, reason: str) -> DamagedFileError:
        """What is told of a copy that is not what its name says."""
        return DamagedFileError(self.copy(), f"{reason}; delete it and start Snakemake, which copies it again")
