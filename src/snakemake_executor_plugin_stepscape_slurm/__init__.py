"""Snakemake's executor plugin `stepscape-slurm`: its SLURM plugin with three things changed.

That plugin leaves every preempted job to SLURM. Where SLURM requeues such jobs they are queued again under their old
numbers; where it cancels them (`PreemptMode=CANCEL`) nothing follows, and the head would wait for ever. Here such a job
counts as failed, so it is tried again.

And it looks ever more seldom, by ten seconds more each time, while nothing ends. Here the next look comes when a tenth
more time has passed, so that the end of a short job is seen soon and that of a long one not much later than it took.

And it guesses an account where none is given, with warnings. Here SLURM bills to the user's own, as without Snakemake.
All else, settings included, is that plugin's.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Collection, Iterator

from snakemake_executor_plugin_slurm import Executor as SlurmExecutor
from snakemake_executor_plugin_slurm import ExecutorSettings, common_settings
from snakemake_executor_plugin_slurm.job_status_query import query_job_status, query_job_status_squeue
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface

__all__ = ["Executor", "ExecutorSettings", "common_settings"]

_SHARE = 0.1
_LONGEST = 180.0  # seconds; SLURM may forget a job 300 s after its end (MinJobAge)
_TOLD = "SLURM job {} was preempted, and SLURM does not requeue it."


class Executor(SlurmExecutor):
    """Submits and follows jobs of SLURM."""

    _known: Collection[str] = ()
    _quiet_since = 0.0

    async def check_active_jobs(self, active_jobs: list[SubmittedJobInfo]) -> AsyncGenerator[SubmittedJobInfo, None]:
        """Looks which jobs have ended, and reports them.

        Args:
            active_jobs: those that had not ended at the last look, and new ones.

        Yields:
            Those that still have not.
        """
        preempted = await self._preempted() if active_jobs else ()
        for info in active_jobs:
            if info.external_jobid in preempted:
                logs = [str(info.aux["slurm_logfile"])]
                self.report_job_error(info, msg=_TOLD.format(info.external_jobid), aux_logs=logs)
        left = [info for info in active_jobs if info.external_jobid not in preempted]
        running = set()
        async for info in super().check_active_jobs(left):
            running.add(info.external_jobid)
            yield info
        self._look_again(running)

    def get_account_arg(self, job: JobExecutorInterface) -> Iterator[str]:
        """Options of `sbatch` for the account of a job.

        Args:
            job: the job.

        Yields:
            The options; one without words where the job names no account.
        """
        if job.resources.get("slurm_account"):
            yield from super().get_account_arg(job)
        else:
            yield ""

    async def _preempted(self) -> Collection[str]:
        """Ids of the jobs that ended so; one that SLURM is about to requeue is shown in another state."""
        async with self.status_rate_limiter:
            states, _ = await query_job_status(query_job_status_squeue(self.run_uuid), self.logger)
        return {job for job, state in (states or {}).items() if state == "PREEMPTED"}

    def _look_again(self, running: Collection[str]) -> None:
        """Sets when: soon after a job was submitted or has ended, then ever more seldom."""
        now = time.monotonic()
        if running != self._known:
            self._known, self._quiet_since = running, now
        soonest = self.workflow.executor_settings.init_seconds_before_status_checks
        self.next_seconds_between_status_checks = min(max(_SHARE * (now - self._quiet_since), soonest), _LONGEST)
