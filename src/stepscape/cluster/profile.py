"""What `workflow/profiles/slurm` asks while Snakemake reads it: before anything else, in the head alone."""

from __future__ import annotations

from dataclasses import dataclass

from stepscape.cluster.site import SITE, Site, read_site
from stepscape.cluster.slurm import Partition, ask_slurm, mistakes_of_site
from stepscape.errors import FileError, StepscapeError

_YEAR = 366 * 24 * 60
_JOBS = "__import__('stepscape.cluster.jobs').cluster.jobs"  # Snakemake evaluates what stands for a resource


@dataclass(frozen=True)
class Profile:
    """What the cluster has of what the site asks.

    Attributes:
        site: what is asked.
        partition: where its jobs go.
    """

    site: Site
    partition: Partition

    def minutes(self, wanted: str) -> str:
        """An expression for a time limit, of which a retry asks twice as much, but never more than the partition has.

        Args:
            wanted: an expression for that of the first attempt.

        Returns:
            The expression, which Snakemake evaluates for each job.
        """
        return f"min(({wanted}) * 2 ** (attempt - 1), {min(self.partition.minutes, _YEAR):.0f})"

    def mem_mb(self, wanted: str) -> str:
        """An expression for memory, of which each retry asks as much more, but never more than a node has.

        Args:
            wanted: an expression for that of the first attempt, in MB.

        Returns:
            The expression.
        """
        return f"min(({wanted}) * attempt, {max(nodes.mem_mb for nodes in self.partition.nodes)})"

    @property
    def training(self) -> dict[str, int | str]:
        """What a job that trains asks for: as the site says, else as receipts tell."""
        minutes = str(self.site.minutes or f"{_JOBS}.minutes(wildcards.pack)")
        memory = str(self.site.mem_mb or f"{_JOBS}.mem_mb(wildcards.pack)")
        # The plugin's own comment names wildcards only, and it refuses the word --comment. Of two comments sbatch takes
        # the last, and it knows an option by any beginning that no other has.
        extra = f"{f'{self.site.extra} --comm='!r} + {_JOBS}.comment(wildcards.pack)"
        return {"runtime": self.minutes(minutes), "mem_mb": self.mem_mb(memory), "slurm_extra": extra, **self.site.gpu}


def read() -> Profile:
    """What `config/site.yaml` asks of the cluster.

    Returns:
        What is asked, and where, all of which the cluster has.

    Raises:
        SystemExit: there is no SLURM, or a mistake in the site; with what to say about it. Another error would be
            shown below two hundred lines on how to call Snakemake.
    """
    try:
        return _checked(read_site())
    except StepscapeError as error:
        raise SystemExit(str(error)) from None


def _checked(site: Site) -> Profile:
    offer = ask_slurm()
    mistakes, partition = mistakes_of_site(site, offer), offer.partition_of(site)
    if mistakes or partition is None:
        raise FileError(SITE, mistakes)
    return Profile(site, partition)
