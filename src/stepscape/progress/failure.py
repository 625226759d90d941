"""Why a job failed: what it left behind, in words."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import disk_usage
from typing import Any

TAIL_LINES = 10
TAIL_BYTES = 65_536
SHOWN_FAILURES = 3
FULL_BYTES = 1 << 20
# Clocks of a head node and a compute node differ a little; an older account is left over from an earlier invocation.
CLOCK_SKEW_SECONDS = 60.0

_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")
_ENDING = re.compile(r"(?:returned non-zero (exit status \d+)|died with <Signals\.(\w+): \d+>)\.?\s*$")
_KILLED = ("exit status 137", "SIGKILL")


@dataclass(frozen=True)
class FailedRun:
    """One run that failed, as its trainer told it.

    Attributes:
        run: its id.
        fields: what it was, such as "model=mlp lr=0.2".
        error: type and message of the exception.
        log_tail: last lines of its log.
    """

    run: str
    fields: str
    error: str
    log_tail: tuple[str, ...]


@dataclass(frozen=True)
class FailedPack:
    """A trainer's account of the runs of a pack that failed.

    Attributes:
        command: trains the pack again.
        log: path of its log.
        failures: the runs.
    """

    command: str
    log: str
    failures: tuple[FailedRun, ...]


@dataclass(frozen=True)
class FailedJob:
    """A failed job, as Snakemake tells it.

    Attributes:
        name: rule and wildcards.
        ending: "exit status 1", "SIGKILL", or "" where unknown.
        details: further lines of Snakemake or of its executor.
        logs: paths of its logs, its own first.
        command: what it ran; "" for none.
    """

    name: str
    ending: str
    details: Sequence[str]
    logs: Sequence[str]
    command: str


def read_account(receipt: str, begun: float) -> FailedPack | None:
    """The account that a trainer left beside its receipt.

    Args:
        receipt: path of the pack's receipt, the job's declared output.
        begun: when the job began, in seconds of the Unix epoch.

    Returns:
        The account; None where there is none of this attempt or it cannot be understood.
    """
    path = Path(receipt).with_suffix(".failed.json")
    try:
        if path.stat().st_mtime < begun - CLOCK_SKEW_SECONDS:
            return None
        return _parse_account(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _parse_account(told: Mapping[str, Any]) -> FailedPack | None:
    failures = tuple(
        FailedRun(
            run=str(failure["run"]),
            fields=str(failure.get("fields", "")),
            error=str(failure.get("error", "")),
            log_tail=tuple(str(line) for line in failure.get("log_tail") or ()),
        )
        for failure in told["failures"]
    )
    return FailedPack(str(told["command"]), str(told["log"]), failures) if failures else None


def read_ending(exception: str) -> str | None:
    """Returns how a command ended, from the text of Snakemake's exception; None for another kind of exception."""
    found = _ENDING.search(exception)
    return found and (found[1] or found[2])


def tail(path: str, most: int | None = TAIL_LINES) -> list[str]:
    """Returns the last lines of a text file, all of them for `most` None, or [] where it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            if most is not None:
                file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return []
    lines = clean(text)
    return lines if most is None else lines[-most:]


def clean(text: str) -> list[str]:
    """Returns lines that a terminal may show: carriage returns end a line, other control characters are left out."""
    return [_CONTROL.sub("", line).rstrip() for line in text.strip().splitlines()]


def explain_pack(account: FailedPack, told: Collection[str] = ()) -> str:
    """Says what failed in a pack.

    Args:
        account: the trainer's own.
        told: errors whose log was shown before; one mistake often fails many runs.

    Returns:
        Run by run its fields, its error and the last lines of its log, then the command that trains the pack again.
    """
    lines, shown = [], set(told)
    for failure in account.failures[:SHOWN_FAILURES]:
        lines += [f"Run {failure.run} failed: {failure.fields}", *_indent(clean(failure.error))]
        if failure.error not in shown:
            log = [line for text in failure.log_tail for line in clean(text)]
            lines += _quote(f"Last lines of {account.log}:", log[-TAIL_LINES:]) or [f"    See {account.log}"]
        shown.add(failure.error)
    more = [failure.run for failure in account.failures[SHOWN_FAILURES:]]
    if more:
        lines.append(f"{len(more)} more failed: {' '.join(more)}")
    return "\n".join([*lines, f"To train this pack again: {account.command}"])


def explain_job(job: FailedJob, log_lines: int | None = TAIL_LINES) -> str:
    """Returns what is known of a failed job: how it ended, the last lines of its logs, its command."""
    killed = " (killed, most often because memory ran out)" if job.ending in _KILLED else ""
    lines = [f"{job.name} failed{': ' if job.ending else ''}{job.ending}{killed}", *_indent(job.details)]
    for log in job.logs:
        title = f"{log}:" if log_lines is None else f"Last lines of {log}:"
        lines += _quote(title, tail(log, log_lines)) or [f"    Nothing in {log}"]
    lines += [f"    {place}: the disk is full; make room there" for place in _full(job.logs)]
    if job.command:
        lines += _quote("Command:", clean(job.command))
    return "\n".join(lines)


def _full(logs: Sequence[str]) -> list[str]:
    """Folders of logs that could take no more words: then a log does not tell why its job failed."""
    folders = dict.fromkeys(str(Path(log).parent) for log in logs)
    return [folder for folder in folders if Path(folder).is_dir() and disk_usage(folder).free < FULL_BYTES]


def _quote(title: str, lines: Sequence[str]) -> list[str]:
    return _indent([title, *_indent(lines)]) if lines else []


def _indent(lines: Sequence[str]) -> list[str]:
    return [f"    {line}" for line in lines]
