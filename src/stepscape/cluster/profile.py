"""What `workflow/profiles/slurm` asks while Snakemake reads it: before anything else, in the head alone."""

from __future__ import annotations

from functools import cache

from stepscape.cluster.site import SITE, Site, read_site
from stepscape.cluster.slurm import Partition, ask_slurm, mistakes_of_site
from stepscape.errors import FileError, StepscapeError


def site() -> Site:
    """What `config/site.yaml` asks of the cluster.

    Returns:
        The site, of which the cluster has all.

    Raises:
        SystemExit: there is no SLURM, or a mistake in the site; with what to say about it. Another error would be
            shown below two hundred lines on how to call Snakemake.
    """
    try:
        return checked_site()[0]
    except StepscapeError as error:
        raise SystemExit(str(error)) from None


@cache
def checked_site() -> tuple[Site, Partition]:
    """What is asked of the cluster, and the partition that it is asked of.

    Returns:
        Both.

    Raises:
        FileError: the cluster does not have what is asked, or the file has other mistakes.
    """
    asked, offer = read_site(), ask_slurm()
    mistakes = mistakes_of_site(asked, offer)
    partition = offer.partition_of(asked)
    if mistakes or partition is None:
        raise FileError(SITE, mistakes)
    return asked, partition
