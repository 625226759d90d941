"""The site: what this checkout asks of its cluster, in `config/site.yaml` and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as typed_dataclass

from stepscape.fields import Index, Text, describe
from stepscape.study.checking import fill, read_checked

SITE = Path("config/site.yaml")


@typed_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Site:
    """The keys of `config/site.yaml`; what is left out is left to SLURM."""

    partition: Annotated[Text, describe("where jobs are queued; default: the cluster's own")] = ""
    account: Annotated[Text, describe("what jobs are billed to; default: yours")] = ""
    qos: Annotated[Text, describe("quality of service")] = ""
    constraint: Annotated[Text, describe("features that nodes must have")] = ""
    gpus: Annotated[Index, describe("GPUs of a pack; 0 where packs train on the CPU")] = 1
    gpu_model: Annotated[Text, describe("their type, as SLURM calls it; default: any")] = ""
    minutes: Annotated[Index, describe("time limit of a pack; 0: estimated, at most that of the partition")] = 0
    mem_mb: Annotated[Index, describe("memory of a pack; 0: estimated", unit="MB")] = 0
    extra: Annotated[Text, describe("further options of sbatch, for all jobs, such as `--reservation=mine`")] = ""

    @property
    def resources(self) -> dict[str, str]:
        """What every job asks for, by the names of Snakemake's SLURM plugin."""
        named = {
            "slurm_partition": self.partition,
            "slurm_account": self.account,
            "qos": self.qos,
            "constraint": self.constraint,
            "slurm_extra": self.extra,
        }
        return {key: repr(value) for key, value in named.items() if value}

    @property
    def gpu(self) -> dict[str, int | str]:
        """What a job that trains asks for besides."""
        if not self.gpus:
            return {}
        return {"gpu": self.gpus, **({"gpu_model": repr(self.gpu_model)} if self.gpu_model else {})}


def read_site(path: Path = SITE) -> Site:
    """Reads what is asked of the cluster.

    Args:
        path: the YAML file; none is a site without wishes.

    Returns:
        The site.

    Raises:
        FileError: with all its mistakes.
    """
    return read_checked(path, lambda given: fill(Site, given)) if path.exists() else Site()
