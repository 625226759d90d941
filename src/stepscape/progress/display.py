"""From the records of Snakemake's logger to what a person wants to know."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stepscape.progress.course import TRAINING_RULE, Course, Job, count
from stepscape.progress.expected import announced
from stepscape.progress.failure import TAIL_LINES, FailedJob, explain_job, explain_pack, read_account, read_ending
from stepscape.progress.screen import Screen

POLL_SECONDS = 0.5

# Of what Snakemake remarks in passing this is routine before its workflow starts, and this alone is not afterwards.
_ROUTINE = ("Assuming unrestricted shared filesystem usage", "Building DAG of jobs")
_KEPT = ("Terminating processes", "Will exit after finishing")
_KEPT_AFTER_FAILURE = ("Shutting down", "Complete log")
_KEPT_IN_DRY_RUN = ("Reasons:", "The run involves checkpoint jobs", "This was a dry-run")
_SEE_JOBS = "    (check individual jobs above for details)\n"

Fields = Mapping[str, Any]


@dataclass(frozen=True)
class Options:
    """What the person asked for on Snakemake's command line.

    Attributes:
        dryrun: nothing will be executed.
        quiet: kinds of output that are not wanted: "progress", "rules", "all".
        shell_commands: whether to show the command of each job.
        whole_logs: whether to show all of a failed job's logs instead of their last lines.
    """

    dryrun: bool = False
    quiet: frozenset[str] = frozenset()
    shell_commands: bool = False
    whole_logs: bool = False


class Display:
    """Follows one invocation of Snakemake; its methods may be called from any thread."""

    def __init__(self, screen: Screen, options: Options, clock: Callable[[], float] = time.monotonic) -> None:
        self._screen = screen
        self._options = options
        self._clock = clock
        self._course = Course(None, clock())
        self._started = self._interrupted = self._closed = False
        self._endings: list[str] = []
        self._told_errors: set[str] = set()
        self._lock = threading.RLock()
        self._poller: threading.Thread | None = None
        self._stop_polling = threading.Event()
        self._on_event: dict[str, Callable[[Fields, str], None]] = {
            "workflow_started": self._workflow_started,
            "run_info": self._run_info,
            "job_info": self._job_info,
            "job_finished": self._job_finished,
            "job_error": self._job_error,
            "error": self._error,
        }

    def handle(self, record: logging.LogRecord, as_snakemake: Callable[[logging.LogRecord], str]) -> None:
        """Takes in one record.

        Args:
            record: as Snakemake hands it to logger plugins.
            as_snakemake: makes Snakemake's own text of it.
        """
        if "all" in self._options.quiet and not self._options.dryrun:
            return
        fields = vars(record)
        event = fields.get("event")
        with self._lock:
            if event in self._on_event:
                self._on_event[event](fields, record.getMessage())
            elif record.levelno >= logging.WARNING:
                self._screen.say(as_snakemake(record), alarm=True)
            elif event is None:
                self._remark(record.getMessage())

    def close(self) -> None:
        """Says how it ended and leaves a clean line. A second call does nothing."""
        self._stop_polling.set()
        if self._poller:
            self._poller.join()
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._screen.close()
            for text in self._endings:
                self._screen.say(text, alarm=True)
            if self._course.planned and not self._options.dryrun and self._wants("progress"):
                self._course.look(self._clock(), everywhere=True)
                self._screen.say(self._course.summary(self._clock()))

    def _workflow_started(self, fields: Fields, text: str) -> None:
        self._started = True
        self._course = Course(announced(), self._clock())

    def _run_info(self, fields: Fields, text: str) -> None:
        if self._course.planned:  # a dry run tells it twice
            return
        self._course.planned = fields["stats"]
        if self._options.dryrun:
            self._screen.say(text)
        if self._options.dryrun or self._wants("progress"):
            self._screen.say(self._course.opening(dryrun=self._options.dryrun))

    def _job_info(self, fields: Fields, text: str) -> None:
        job = _read_job(fields)
        if self._wants("rules"):
            self._mention(job, fields)
        if self._options.dryrun:
            return
        if self._course.start(fields["jobid"], job, self._clock()):
            self._screen.say(f"{job.name} is tried again")
        self._refresh()
        self._poll()

    def _mention(self, job: Job, fields: Fields) -> None:
        if self._options.shell_commands and fields["shellcmd"]:
            self._screen.say(f"{job.name}\n    reason: {fields['reason']}\n    {fields['shellcmd'].strip()}")
        elif fields["output"] and job.rule != TRAINING_RULE and not (self._options.dryrun or self._screen.live):
            self._screen.say(job.doing)

    def _job_finished(self, fields: Fields, text: str) -> None:
        self._course.finish(fields["job_id"])
        self._refresh()

    def _job_error(self, fields: Fields, text: str) -> None:
        job = self._course.running(fields["jobid"]) or _read_job(fields)
        self._course.fail(fields["jobid"], job)
        self._course.look(self._clock(), everywhere=True)
        ending = self._take_ending(fields["shellcmd"])
        if self._interrupted:
            self._screen.say(f"{job.name} was stopped")
        else:
            self._screen.say(self._explain(job, ending, fields), alarm=True)
        self._refresh()

    def _error(self, fields: Fields, text: str) -> None:
        # What a failed command raises says nothing but how it ended; the job's own error, which follows, tells that.
        if fields.get("exception") == "RuleException" and read_ending(text):
            self._endings.append(text)
        else:
            self._screen.say(text, alarm=True)

    def _remark(self, text: str) -> None:
        self._interrupted |= text.startswith("Terminating processes")
        if not self._started:
            kept = not text.startswith(_ROUTINE)
        elif text.startswith("Nothing to be done"):
            kept, text = True, self._course.nothing_to_do() or text
        elif self._options.dryrun:
            kept, text = text.startswith(_KEPT_IN_DRY_RUN), text.replace(_SEE_JOBS, "")
        else:
            kept = text.startswith(_KEPT) or (bool(self._course.failed) and text.startswith(_KEPT_AFTER_FAILURE))
        if kept and text:
            self._screen.say(text)

    def _explain(self, job: Job, ending: str, fields: Fields) -> str:
        account = read_account(fields["output"][0], job.begun) if job.rule == TRAINING_RULE else None
        if account and not self._options.whole_logs:
            text = explain_pack(account, self._told_errors)
            self._told_errors.update(failure.error for failure in account.failures)
            return text
        message = [str(fields["rule_msg"])] if fields["rule_msg"] else []
        details = message + [f"{key}: {value}" for key, value in fields["aux"].items()]
        failed = FailedJob(job.name, ending, details, fields["log"], fields["shellcmd"] or "")
        text = explain_job(failed, None if self._options.whole_logs else TAIL_LINES)
        if account:
            return f"{text}\n{explain_pack(account)}"
        left = self._course.left_of(job.pack)
        return f"{text}\n{_without_account(left)}" if left else text

    def _take_ending(self, command: str | None) -> str:
        for text in self._endings:
            if command and command in text:
                self._endings.remove(text)
                return read_ending(text) or ""
        return ""

    def _refresh(self) -> None:
        if not self._wants("progress") or not (self._screen.live or self._course.training):
            return
        status = self._course.status(self._clock())
        self._screen.show(status.doing, status.done, status.total, status.text)

    def _poll(self) -> None:
        if self._poller is None:
            self._poller = threading.Thread(target=self._keep_looking, name="stepscape-progress", daemon=True)
            self._poller.start()

    def _keep_looking(self) -> None:
        while not self._stop_polling.wait(POLL_SECONDS):
            with self._lock:
                self._course.look(self._clock())
                self._refresh()

    def _wants(self, kind: str) -> bool:
        return kind not in self._options.quiet


def _read_job(fields: Fields) -> Job:
    wildcards = fields.get("wildcards") or {}
    name = " ".join([fields["rule_name"], *(f"{key}={value}" for key, value in wildcards.items())])
    pack = wildcards.get("pack", "") if fields["rule_name"] == TRAINING_RULE else ""
    return Job(fields["rule_name"], pack, name, fields["rule_msg"] or name, fields["created"])


def _without_account(left: int) -> str:
    return f"    {count(left, 'run')} of this pack not trained; the same snakemake command trains what is missing"
