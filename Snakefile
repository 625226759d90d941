"""Stepscape: studies to runs, runs to datasets, datasets to verdicts and figures."""

from snakemake.exceptions import WorkflowError

from stepscape.cluster import jobs
from stepscape.errors import StepscapeError
from stepscape.store.head import take_head
from stepscape.store.receipts import data_before, keep_up, packs_before
from stepscape.study import fingerprint
from stepscape.study.config import load_plan, make_config


configfile: "config/config.yaml"


try:
    settings = make_config(config)
    plan, paths = load_plan(settings.studies, settings.paths), settings.paths
    if workflow.is_main_process:
        from stepscape import progress

        progress.announce(progress.expect(plan, paths, keep_up(plan, paths)))
        jobs.announce(plan, paths)
except StepscapeError as error:
    raise WorkflowError(str(error)) from None


onstart:
    if not workflow.execution_settings.lock:
        try:
            take_head(paths)
        except StepscapeError as error:
            raise WorkflowError(str(error)) from None


wildcard_constraints:
    pack="[0-9a-f]{16}",
    study="[a-z0-9_]+",
    figure="[a-z0-9_]+",
    dataset="[a-z0-9_]+",


include: "rules/prepare.smk"
include: "rules/train.smk"
include: "rules/collect.smk"
include: "rules/judge.smk"
include: "rules/draw.smk"
include: "rules/report.smk"
include: "rules/archive.smk"


rule all:
    default_target: True
    input:
        [paths.receipt(pack.id) for pack in plan.packs],
        [path for study in plan.studies for path in study.products(paths)],
        paths.index,
