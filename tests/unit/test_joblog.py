"""The logs of jobs that train, of which Snakemake keeps the last only."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from stepscape.study.paths import Paths

PACK = "0123456789abcdef"
PRINTS = f"""
import sys
from pathlib import Path
from stepscape.store.joblog import begin_log
from stepscape.study.paths import Paths
begin_log(Paths(Path(sys.argv[1])), "{PACK}")
print("trained by", sys.argv[2])
"""


def job(paths: Paths, name: str, log: Path | None, env: dict[str, str] | None = None) -> str:
    """A process that prints into a log, as a rule's shell command opens it; without one, what it printed."""
    words = [sys.executable, "-c", PRINTS, str(paths.root), name]
    if log is None:
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout
    log.unlink(missing_ok=True)
    with log.open("w") as file:
        subprocess.run(words, check=True, stdout=file, env=env)
    return log.read_text()


def test_what_earlier_jobs_of_a_pack_printed_is_kept(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "results")
    log = paths.log("train_pack", PACK)
    log.parent.mkdir(parents=True)
    printed = [job(paths, name, log) for name in ("the first", "the second")]
    assert ["trained by the first" in printed[0], "trained by the second" in printed[1]] == [True, True]
    kept = {path.read_text() for path in log.parent.glob(f"jobs/{PACK}.*.log")}
    assert kept == set(printed)


def test_a_job_says_where_it_runs(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "results")
    log = paths.log("train_pack", PACK)
    log.parent.mkdir(parents=True)
    assert "SLURM job 17\n" in job(paths, "x", log, {"SLURM_JOB_ID": "17", "PYTHONPATH": ":".join(sys.path)})


def test_on_a_terminal_no_log_is_kept(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "results")
    log = paths.log("train_pack", PACK)
    log.parent.mkdir(parents=True)
    log.write_text("of a job")
    assert "trained by hand" in job(paths, "hand", None)
    assert list(log.parent.iterdir()) == [log]
