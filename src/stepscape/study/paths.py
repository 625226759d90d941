"""Where everything lies. All paths of results come from here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

RUN_ENDING = ".zarr.zip"
CHECKSUMS = "SHA256SUMS"


@dataclass(frozen=True)
class DataPaths:
    """The folder of data that are not generated: archives as published, what is made of them, users' files.

    Attributes:
        root: the folder; a person may fill it.
    """

    root: Path = Path("data")

    def archive(self, dataset: str, name: str) -> Path:
        """An archive of a dataset, as it is published."""
        return self.root / dataset / name

    def prepared(self, dataset: str) -> Path:
        """What the archives of a dataset hold, as arrays."""
        return self.root / dataset / "arrays.npz"

    def file(self, content: str) -> Path:
        """The copy of a user's file that runs train on, by its content hash."""
        return self.root / "files" / content


@dataclass(frozen=True)
class Paths:
    """The results folder.

    Attributes:
        root: the folder that everything produced lies under.
        data: the folder of data that runs train on.
    """

    root: Path
    data: DataPaths = DataPaths()

    def run(self, run_id: str) -> Path:
        """A run file."""
        return Path(f"{self.runs}/{run_id[:2]}/{run_id}{RUN_ENDING}")

    @property
    def runs(self) -> Path:
        """All run files, in folders named by the first two digits of their ids."""
        return self.root / "runs"

    def receipt(self, pack: str) -> Path:
        """What a job leaves when all runs of its pack are there."""
        return self.packs / f"{pack}.json"

    def pack_plan(self, pack: str) -> Path:
        """The runs of a pack, for the job that trains it."""
        return self.packs / f"{pack}.plan.json"

    def failures(self, pack: str) -> Path:
        """What went wrong in the last job that tried this pack."""
        return self.packs / f"{pack}.failed.json"

    def checkpoint(self, pack: str) -> Path:
        """The state of a pack in training, for a job that takes it up again."""
        return self.root / "checkpoints" / f"{pack}.npz"

    def start(self, content: str) -> Path:
        """A file of parameters that runs start from, by its content hash."""
        return self.root / "starts" / f"{content}.npz"

    def outline(self, content: str) -> Path:
        """What rules ask of the selected studies, by a hash of it; the jobs of an invocation read it."""
        return self.outlines / f"{content}.json"

    @property
    def outlines(self) -> Path:
        """What rules asked of the studies that were selected, at each invocation."""
        return self.root / "plans"

    @property
    def packs(self) -> Path:
        """Receipts, plans and failures of packs."""
        return self.root / "packs"

    def lease(self, pack: str) -> Path:
        """Who trains a pack now; gone when it is trained."""
        return self.leases / f"{pack}.json"

    @property
    def leases(self) -> Path:
        """Leases of the packs that are being trained."""
        return self.root / "leases"

    @property
    def head(self) -> Path:
        """Which process submits jobs to a cluster now."""
        return self.root / "head.json"

    def live(self, pack: str) -> Path:
        """How far the training of a pack is; gone when its receipt is there."""
        return self.live_logs / f"{pack}.jsonl"

    @property
    def live_logs(self) -> Path:
        """Records of the packs that are being trained."""
        return self.root / "live"

    @property
    def parts(self) -> Path:
        """What was read of run files, in blocks; collecting reads no file twice."""
        return self.root / "parts"

    @property
    def damaged(self) -> Path:
        """Files that were found damaged and set aside."""
        return self.root / "damaged"

    def study(self, study: str) -> Path:
        """All that is made of a study."""
        return self.studies / study

    def dataset(self, study: str) -> Path:
        """A study's dataset, a Zarr store."""
        return self.study(study) / "dataset.zarr"

    def dataset_marker(self, study: str) -> Path:
        """The file of a dataset that is written last: its hash of all run files changes when any of them does."""
        return self.dataset(study) / "zarr.json"

    def table(self, study: str) -> Path:
        """One row a run: every axis, status, final values."""
        return self.study(study) / "runs.csv"

    def checksums(self, study: str) -> Path:
        """SHA-256 of every file of a dataset, and of its table."""
        return self.study(study) / CHECKSUMS

    def claims(self, study: str) -> Path:
        """The verdicts."""
        return self.study(study) / "claims.json"

    def figure(self, study: str, figure: str, ending: str) -> Path:
        """A figure, as `svg` or `png`."""
        return self.study(study) / "figures" / f"{figure}.{ending}"

    def report(self, study: str) -> Path:
        """A study's page."""
        return self.study(study) / "report.html"

    @property
    def index(self) -> Path:
        """The page that leads to those of all studies."""
        return self.studies / "index.html"

    @property
    def studies(self) -> Path:
        """All that is made of studies."""
        return self.root / "studies"

    def products(self, study: str, figures: Iterable[str], *, claims: bool) -> list[Path]:
        """All that is made of a study's runs: dataset, table, verdicts if it has claims, figures, page."""
        verdicts = [self.claims(study)] if claims else []
        drawn = [self.figure(study, figure, "svg") for figure in figures]
        return [self.dataset_marker(study), self.table(study), *verdicts, *drawn, self.report(study)]

    def archive(self, study: str) -> Path:
        """All of a study's results in one file."""
        return self.root / "archives" / f"{study}.zip"

    def log(self, rule: str, name: str) -> Path:
        """What a job printed; of several jobs the last."""
        return self.root / "logs" / rule / f"{name}.log"

    def job_log(self, pack: str, job: str) -> Path:
        """What one of the jobs printed that trained a pack."""
        return self.root / "logs/train_pack/jobs" / f"{pack}.{job}.log"

    def benchmark(self, rule: str, name: str) -> Path:
        """What a job cost."""
        return self.root / "logs" / rule / f"{name}.tsv"
