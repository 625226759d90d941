"""All claims of a study, judged on its dataset."""

from __future__ import annotations

from typing import Any

import xarray as xr

from stepscape.claims import Claim
from stepscape.study.spec import Entry, Study


def judge_study(study: Study, ds: xr.Dataset) -> list[dict[str, Any]]:
    """Judges every claim of a study on the runs that it is about.

    Args:
        study: the study.
        ds: its dataset.

    Returns:
        For each claim: id, statement, criterion, value, low, high, verdict, reason, runs.
    """
    return [_judge(entry, pick(study, entry, ds)) for entry in study.claims]


def pick(study: Study, entry: Entry[Any], ds: xr.Dataset) -> xr.Dataset:
    """The part of a study's dataset that a claim or figure is about."""
    wanted = {run.id for run in study.pick(entry)}
    return ds.isel(run=[index for index, run_id in enumerate(ds.run.values) if run_id in wanted])


def _judge(entry: Entry[Claim], ds: xr.Dataset) -> dict[str, Any]:
    found = entry.member.judge(ds)
    return {
        "id": entry.id,
        "statement": entry.member.statement_on(ds),
        "criterion": entry.member.criterion,
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "verdict": found.verdict,
        "reason": found.reason,
        "runs": dict(found.runs),
    }
