"""A sweep of four small runs, made as Snakemake's jobs make it; and such sweeps in processes that can be killed."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stepscape.archive.contents import archive_study
from stepscape.archive.provenance import Checkout
from stepscape.cli import main
from stepscape.store.collect import collect_study
from stepscape.store.receipts import keep_up
from stepscape.study.paths import Paths
from stepscape.study.plan import Plan, make_plan
from stepscape.training.pack import train_pack
from tests.factories import make_study

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["tests.faults.sweep"])
"""Whoever is killed is forked by a process that has imported all of this and has no threads."""

CHECKPOINT_EVERY = 0.0  # seconds: at every step


class Sweep:
    """A checkout with one study, and what becomes of it.

    Attributes:
        folder: the checkout.
        paths: where results lie.
        study: what is swept.
    """

    def __init__(self, folder: Path, results: Path | None = None) -> None:
        self.folder = folder
        self.paths = Paths(results or folder / "results")
        self.study = make_study(
            folder / "config/studies",
            "faulty",
            title="Descent that is disturbed",
            grid=[{"lr": [0.5, 1.0], "seed": [0, 1]}],
            observe={"losses": {"every": 1}, "hessian_top": {"every": 5}},
        )

    @property
    def plan(self) -> Plan:
        return make_plan([self.study])

    def make(self) -> None:
        """Makes what is missing or older than what it is made of, as `snakemake` and `snakemake <archive>` do."""
        plan, paths = self.plan, self.paths
        keep_up(plan, paths)
        for pack in plan.packs:
            if not paths.receipt(pack.id).exists():
                assert train_pack(pack.id, paths, "cpu", CHECKPOINT_EVERY)
        made = paths.dataset_marker(self.study.name)
        receipts = max(paths.receipt(pack.id).stat().st_mtime_ns for pack in plan.packs)
        if not made.exists() or made.stat().st_mtime_ns < receipts or not paths.table(self.study.name).exists():
            collect_study(self.study, paths)
        archive = paths.archive(self.study.name)
        if not archive.exists() or archive.stat().st_mtime_ns < made.stat().st_mtime_ns:
            archive_study(self.study, paths, checkout=Checkout(self.folder))

    def results(self) -> dict[str, bytes]:
        """What must be the same whatever happened: run files, dataset, table, archive."""
        root = self.paths.root
        folders = (self.paths.runs, self.paths.study(self.study.name), self.paths.archive("").parent)
        files = (file for folder in folders for file in folder.rglob("*") if file.is_file() and file.name[0] != ".")
        return {file.relative_to(root).as_posix(): file.read_bytes() for file in files}

    def faults(self) -> list[str]:
        """What `stepscape verify` says of the results and of the archive, without its last lines."""
        begun = {self.paths.runs: self.paths.root, self.paths.archive(self.study.name): None}
        return [line for made, path in begun.items() if made.exists() for line in verified(path or made)]

    def damage(self) -> list[str]:
        """The faults of what is finished: a dataset that was being made may lack its parts."""
        begun = str(self.paths.study(self.study.name))
        return [fault for fault in self.faults() if not fault.startswith(begun)]

    def clear(self) -> None:
        """Removes all results, not the folder that they are in, which may be a disk."""
        for path in self.paths.root.iterdir() if self.paths.root.exists() else ():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def verified(path: Path) -> list[str]:
    """The faults that `stepscape verify` names."""
    status, out, err = command("verify", path)
    assert err == ""
    lines = out.splitlines()
    found = lines[:-2] if status else lines[:-1]
    assert lines[len(found)].endswith(f"{len(found)} damaged")
    return found


def command(*words: Any) -> tuple[int, str, str]:
    """Runs `stepscape` here: its status, what it printed, and its errors."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([*map(str, words)])
    return status, out.getvalue(), err.getvalue()


# -------------------------------------------------------------------------------------------------- in another process


def process(action: Callable[..., None], *arguments: Any) -> Any:
    """Another process that does something; started, and not waited for."""
    started = SERVER.Process(target=quietly, args=(action, *arguments))
    started.start()
    return started


def quietly(action: Callable[..., None], *arguments: Any) -> None:
    """Without what jobs print, which is of no interest where many are disturbed."""
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        action(*arguments)


def make(sweep: Sweep) -> None:
    sweep.make()
