"""Stepscape: studies to runs, runs to datasets, datasets to verdicts and figures."""

from snakemake.exceptions import WorkflowError

from stepscape import progress
from stepscape.cluster import jobs
from stepscape.errors import StepscapeError
from stepscape.store.head import take_head
from stepscape.store.outline import VARIABLE, hand_down, handed_down, make_outline
from stepscape.store.receipts import keep_up
from stepscape.study.config import load_plan, make_config


configfile: "config/config.yaml"


try:
    settings = make_config(config)
    paths = settings.paths
    outline = None if workflow.is_main_process else handed_down()
    plan = None if outline else load_plan(settings.studies, paths)
    if workflow.is_main_process:
        progress.announce(progress.expect(plan, paths, keep_up(plan, paths)))
        jobs.announce(plan, paths)
    outline = hand_down(outline or make_outline(plan, paths), paths)
except StepscapeError as error:
    raise WorkflowError(str(error)) from None


envvars:
    VARIABLE,


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
        outline.targets(paths),
