"""What jobs that train print.

Each log gets a second name, because Snakemake removes the log of a pack whenever it starts another job for it, also one
that will only wait for the lease of the first.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from datetime import UTC, datetime

from stepscape.study.paths import Paths

_STDOUT = 1


def begin_log(paths: Paths, pack: str) -> None:
    """Says which job this is, and gives the log that it prints to a second name, which nobody removes.

    Args:
        paths: where results lie.
        pack: the pack.
    """
    started, host, pid = datetime.now(UTC), socket.gethostname(), os.getpid()
    job = os.environ.get("SLURM_JOB_ID", "")
    print(f"{started:%Y-%m-%d %H:%M:%S} UTC: process {pid} on {host}{f', SLURM job {job}' if job else ''}", flush=True)
    log, kept = paths.log("train_pack", pack), paths.job_log(pack, f"{started:%Y%m%dT%H%M%S}-{host}-{pid}")
    with suppress(OSError):  # no log, as on a terminal, or no hard links here
        if os.path.samestat(os.fstat(_STDOUT), log.stat()):
            kept.parent.mkdir(exist_ok=True)
            os.link(log, kept)
