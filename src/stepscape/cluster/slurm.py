"""What SLURM offers, as `sinfo` and `sacctmgr` tell it, and whether a site asks for more."""

from __future__ import annotations

import getpass
import math
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from stepscape.cluster.site import Site
from stepscape.errors import Mistake, StepscapeError, listed, nearest

_GPU = re.compile(r"gpu(?::([^:,()]+))?:(\d+)")
_LIMIT = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)")
_ANSWER_SECONDS = 60


@dataclass(frozen=True)
class Nodes:
    """Nodes of a partition that are alike.

    Attributes:
        gpus: type to how many of it each has.
        features: what a constraint may name.
        mem_mb: memory of each, in MB.
    """

    gpus: Mapping[str, int] = field(default_factory=dict)
    features: frozenset[str] = frozenset()
    mem_mb: int = 0

    def gpus_of(self, model: str) -> int:
        """How many GPUs of a type each has; of the type it has most of for an empty one."""
        return max([count for kind, count in self.gpus.items() if model in ("", kind)], default=0)


@dataclass(frozen=True)
class Partition:
    """A partition.

    Attributes:
        name: its name.
        is_default: whether jobs that name none go there.
        is_up: whether it takes jobs.
        minutes: its time limit; infinite where it has none.
        nodes: its nodes, by kind.
    """

    name: str
    is_default: bool
    is_up: bool
    minutes: float
    nodes: tuple[Nodes, ...]


@dataclass(frozen=True)
class Offer:
    """What there is.

    Attributes:
        partitions: by name.
        accounts: account to the qualities of service that it may use; None where the cluster keeps no accounts.
    """

    partitions: Mapping[str, Partition]
    accounts: Mapping[str, Sequence[str]] | None

    def partition_of(self, site: Site) -> Partition | None:
        """Where jobs of the site go; None if there is no such partition."""
        if site.partition:
            return self.partitions.get(site.partition)
        return next((partition for partition in self.partitions.values() if partition.is_default), None)


def ask_slurm() -> Offer:
    """Asks the cluster of this machine what it offers.

    Returns:
        The offer.

    Raises:
        StepscapeError: there is no SLURM here, or it does not answer.
    """
    if not shutil.which("sinfo"):
        raise StepscapeError(
            "no SLURM here: the command sinfo is not on the PATH.\n"
            "Start this on a login node of the cluster; on this machine alone, `snakemake --cores all` trains."
        )
    rows = _rows("sinfo", "--noheader", "--exact", "--format", "%R|%P|%a|%l|%m|%G|%f")
    return Offer(read_partitions(rows), _accounts())


def _rows(*words: str) -> list[str]:
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_ANSWER_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise StepscapeError(f"SLURM does not answer: {words[0]} said nothing for {_ANSWER_SECONDS} s") from None
    if done.returncode:
        raise StepscapeError(f"SLURM does not answer: {words[0]} ended with status {done.returncode}\n{done.stderr}")
    return [row for row in done.stdout.splitlines() if row]


def _accounts() -> dict[str, list[str]] | None:
    words = ["sacctmgr", "--noheader", "--parsable2", "show", "associations"]
    try:
        rows = _rows(*words, f"user={getpass.getuser()}", "format=account,qos")
    except (StepscapeError, OSError):  # no accounting: any account is taken, and none is kept
        return None
    found: dict[str, list[str]] = {}
    for account, qualities in (row.split("|") for row in rows):  # a row for each partition, where that matters
        found.setdefault(account, []).extend(qualities.split(","))
    return found


def read_partitions(rows: Iterable[str]) -> dict[str, Partition]:
    """Partitions from what `sinfo --format '%R|%P|%a|%l|%m|%G|%f'` prints.

    Args:
        rows: a row for each kind of nodes of each partition.

    Returns:
        Name to partition, in the order of the rows.
    """
    found: dict[str, Partition] = {}
    for row in rows:
        name, starred, up, limit, memory, gres, features = row.split("|")
        before = found[name].nodes if name in found else ()
        nodes = Nodes(_gpus(gres), frozenset(features.split(",")) - {"(null)"}, int(memory.rstrip("+")))
        found[name] = Partition(name, starred.endswith("*"), up == "up", _minutes(limit), (*before, nodes))
    return found


def _gpus(gres: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    for kind, count in _GPU.findall(gres):
        counts[kind] = counts.get(kind, 0) + int(count)
    return counts


def _minutes(limit: str) -> float:
    match = _LIMIT.fullmatch(limit)
    if not match:
        return math.inf
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return (days * 24 + hours) * 60 + minutes + seconds / 60


def mistakes_of_site(site: Site, offer: Offer) -> list[Mistake]:
    """What a site asks for that there is not.

    Args:
        site: what is asked.
        offer: what there is.

    Returns:
        The mistakes, with what exists.
    """
    partition = offer.partition_of(site)
    found = [*_account_mistakes(site, offer), *_extra_mistakes(site)]
    if partition is None:
        return [_no_partition(site, offer), *found]
    return [*_partition_mistakes(site, partition), *found]


def _no_partition(site: Site, offer: Offer) -> Mistake:
    names = list(offer.partitions)
    if not site.partition:
        return Mistake("partition", "nothing, and the cluster has no default", listed(names), "name one")
    return Mistake("partition", f"{site.partition!r}", listed(names), nearest(site.partition, names))


def _partition_mistakes(site: Site, partition: Partition) -> Iterator[Mistake]:
    kinds, where = partition.nodes, f"in partition {partition.name}"
    models = {model for nodes in kinds for model in nodes.gpus if model}
    memory = max(nodes.mem_mb for nodes in kinds)
    if not partition.is_up:
        yield Mistake("partition", f"{partition.name!r}, which is down", "a partition that is up")
    if site.gpu_model and site.gpus and site.gpu_model not in models:
        remedy = nearest(site.gpu_model, models)
        yield Mistake("gpu_model", f"{site.gpu_model!r}", f"{listed(models)} {where}", remedy)
    elif site.gpus > (most := max(nodes.gpus_of(site.gpu_model) for nodes in kinds)):
        remedy = "" if most else "name another partition, or `gpus: 0` with `device: cpu` in config/config.yaml"
        yield Mistake("gpus", str(site.gpus), f"at most {most}, which a node has {where}", remedy)
    features = set().union(*(nodes.features for nodes in kinds))
    unknown = sorted(set(re.findall(r"[\w.-]+", re.sub(r"\*\d+", "", site.constraint))) - features)
    if unknown:
        remedy = nearest(unknown[0], features)
        yield Mistake("constraint", ", ".join(map(repr, unknown)), f"{listed(features)} {where}", remedy)
    if site.minutes > partition.minutes:
        yield Mistake("minutes", str(site.minutes), f"at most {partition.minutes:.0f} {where}")
    if site.mem_mb > memory:
        yield Mistake("mem_mb", str(site.mem_mb), f"at most {memory}, which a node has {where}")


def _account_mistakes(site: Site, offer: Offer) -> Iterator[Mistake]:
    if offer.accounts is None:
        if site.account:
            yield Mistake("account", f"{site.account!r}", "nothing: this cluster keeps no accounts", "leave it out")
        return
    if site.account and site.account not in offer.accounts:
        names = list(offer.accounts)
        yield Mistake("account", f"{site.account!r}", f"yours: {listed(names)}", nearest(site.account, names))
    mine = [offer.accounts.get(site.account, ())] if site.account else offer.accounts.values()
    qualities = {quality for names in mine for quality in names if quality}
    if site.qos and site.qos not in qualities:
        yield Mistake("qos", f"{site.qos!r}", listed(qualities), nearest(site.qos, qualities))


def _extra_mistakes(site: Site) -> Iterator[Mistake]:
    """Options that Snakemake's plugin sets itself; it would refuse them job by job, after the first was submitted."""
    from snakemake_executor_plugin_slurm.validation import get_forbidden_slurm_options

    refused = sorted(name for words, name in get_forbidden_slurm_options().items() if re.search(words, site.extra))
    if refused:
        remedy = "use the other keys; the rest is set for every job"
        yield Mistake("extra", f"{site.extra!r}", f"no {' or '.join(refused)}", remedy)
    try:
        shlex.split(site.extra)
    except ValueError as error:
        yield Mistake("extra", f"{site.extra!r}", f"what a shell can read ({error})")
