"""What a person asks before, while and after a study runs: plan, status, members. All from files alone."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stepscape.cluster.site import read_site
from stepscape.datasets._root import use_data_root
from stepscape.errors import counted
from stepscape.progress.course import duration
from stepscape.progress.watching import watch
from stepscape.registry import members, settings
from stepscape.store.costs import Costs, learn
from stepscape.store.files import read_json
from stepscape.store.head import read_head
from stepscape.store.livelog import Progress, read_live
from stepscape.store.owners import Owner, read_owners, seems_alive
from stepscape.store.receipts import existing_runs, known
from stepscape.study.config import load_plan, read_config
from stepscape.study.paths import Paths
from stepscape.study.plan import Plan
from stepscape.study.reference_pages import default_text
from stepscape.study.run import describe_run
from stepscape.study.spec import Study

_VERDICTS = {"supported": "green", "not_supported": "red", "undecided": "yellow", "not_testable": "dim"}


def show_plan(names: Sequence[str], results: str | None) -> int:
    """Prints what the selected studies are made of and what would be trained."""
    plan, paths = _selected(names, results)
    existing, costs = existing_runs(paths), learn(plan, paths)
    table = Table(box=None, pad_edge=False)
    for column in ("study", "runs", "exist", "to train", "packs", "about"):
        table.add_column(column, justify="left" if column == "study" else "right")
    for study in plan.studies:
        missing = [run for run in study.runs if run.id not in existing]
        packs = [pack for pack in plan.packs_of(study) if any(run.id not in existing for run in pack.runs)]
        counts = (len(study.runs), len(study.runs) - len(missing), len(missing), len(packs))
        work = duration(costs.seconds(missing)) if missing else ""
        table.add_row(study.name, *map(str, counts), work)
    console = _console()
    console.print(table)
    for line in _cost_lines(costs, costs.seconds(run for run in plan.runs.values() if run.id not in existing)):
        console.print(line)
    for study in plan.studies:
        started = Counter("other runs" if run.parent else "files" for run in study.runs if run.start)
        for source, count in sorted(started.items()):
            console.print(f"{study.name}: {count} of its runs start from {source}")
    return 0


def _cost_lines(costs: Costs, to_train: float) -> Iterator[str]:
    """What the estimates rest on, and what they come to on a cluster."""
    if costs.is_learned:
        times = f"{costs.ratio:.2g} times as much as the {duration(costs.planned)} planned"
        yield f"finished runs took {duration(costs.taken)}, {times}; estimates follow them"
    gpus = read_site().gpus if read_config().device != "cpu" else 0
    if gpus and to_train:
        hours = to_train * gpus / 3600
        yield f"with `--profile slurm`: {f'about {hours:,.1f}' if hours >= 0.1 else 'less than 0.1'} GPU hours"


def show_selftest(names: Sequence[str], device: str) -> int:
    """Prints whether runs of the selected studies' architectures have the same bytes here, whatever trains beside them.

    Args:
        names: the studies; those of the configuration if none is named.
        device: `cpu`, `cuda` or `auto`.

    Returns:
        The exit status: 1 if any came out otherwise.
    """
    from stepscape.training.platform import prepare
    from stepscape.training.selftest import selftest

    plan, paths = _selected(names, None)
    use_data_root(paths.data.root)
    prepared = prepare(device)
    failed = 0
    table = Table(box=None, pad_edge=False)
    for column in ("model", "loss", "optimizer", "batch", "dtype", "lanes", "same bytes"):
        table.add_column(column)
    for outcome in selftest(plan.runs.values(), prepared):
        run = outcome.run
        verdict = f"[red]no: {', '.join(outcome.differing)}[/red]" if outcome.differing else "[green]yes[/green]"
        failed += bool(outcome.differing)
        model = f"{run.model.name} {run.model.parameter_count(run.dataset.input_shape, run.dataset.outputs)}"
        lanes = f"{outcome.mode}: {outcome.because}" if outcome.because else outcome.mode
        table.add_row(model, run.loss.name, run.optimizer.name, str(run.batch), run.dtype, lanes, verdict)
    _console().print(table)
    if failed:
        print(
            "On this machine a run's last bits depend on what trains beside it. Its results are right, but another "
            "selection of runs may give other bytes: please report the table and the output of `stepscape --version`."
        )
    return 1 if failed else 0


def show_status(names: Sequence[str], results: str | None, *, follow: bool = False) -> int:
    """Prints how far the selected studies are, their verdicts, and where their figures and pages lie.

    Args:
        names: the studies; those of the configuration if none is named.
        results: where results lie; None: where the configuration says.
        follow: first show how far the runs are, again and again, until all is made or the person interrupts.

    Returns:
        The exit status.
    """
    plan, paths = _selected(names, results)
    console = _console()
    if follow and not watch(lambda: _under_way(plan, paths), lambda: _all_made(plan, paths), console):
        return 0
    for part in [*_outcomes(plan, paths), *_under_way(plan, paths, but_studies=True)]:
        console.print(part, soft_wrap=isinstance(part, Text))
    return 0


def _all_made(plan: Plan, paths: Paths) -> bool:
    return plan.runs.keys() <= existing_runs(paths) and all(
        path.exists()
        for study in plan.studies
        for path in paths.products(study.name, [entry.id for entry in study.figures], claims=bool(study.claims))
    )


def _outcomes(plan: Plan, paths: Paths) -> Iterator[Text | Table]:
    """How far each study is, and what came of it."""
    existing, costs = existing_runs(paths), learn(plan, paths)
    for study in plan.studies:
        yield _heading(study)
        yield Text(_progress_line(study, plan, paths, existing, costs))
        claims = read_json(paths.claims(study.name))
        if claims:
            yield _verdict_table(claims["claims"])
            told = (claim for claim in claims["claims"] if claim["value"] is not None and claim["reason"])
            yield from (Text(f"  {claim['id']}: {claim['reason']}") for claim in told)
        figures = (paths.figure(study.name, figure.id, "png") for figure in study.figures)
        yield from (Text(f"figure  {path}") for path in figures if path.exists())
        if paths.report(study.name).exists():
            yield Text(f"page    {paths.report(study.name)}")


def _under_way(plan: Plan, paths: Paths, *, but_studies: bool = False) -> Iterator[Text | Table]:
    """How far each study is, what is trained now, and what the head waits for."""
    existing, costs = existing_runs(paths), learn(plan, paths)
    for study in () if but_studies else plan.studies:
        yield _heading(study)
        yield Text(_progress_line(study, plan, paths, existing, costs))
    running = _running(paths)
    if running:
        yield _running_table(running, plan)
    head = read_head(paths)
    if head:
        yield Text(_head_line(head, plan, existing, costs, {told.pack for told in running}))


def _heading(study: Study) -> Text:
    return Text.assemble((study.title, "bold"), f" ({study.name})")


def _head_line(head: Owner, plan: Plan, existing: set[str], costs: Costs, training: Collection[str]) -> str:
    """What the head still has to see done: packs that no process trains wait for a node, or for other packs."""
    missing = {pack.id: [run for run in pack.runs if run.id not in existing] for pack in plan.packs}
    left = [pack for pack, runs in missing.items() if runs]
    queued = sum(pack not in training for pack in left)
    words = f"{head.words} submits jobs: {counted(len(left) - queued, 'pack')} in training, {queued} queued"
    if not left or queued == len(left):
        return words
    work = costs.seconds(run for runs in missing.values() for run in runs)
    return f"{words}, about {duration(work / (len(left) - queued))} left at this pace"


def _selected(names: Sequence[str], results: str | None) -> tuple[Plan, Paths]:
    config = read_config()
    paths = dataclasses.replace(config.paths, root=Path(results or config.results))
    return load_plan(names or config.studies, paths), paths


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=max(console.width, 120))


def _progress_line(study: Study, plan: Plan, paths: Paths, existing: set[str], costs: Costs) -> str:
    ids = [run.id for run in study.runs]
    missing = [run for run in study.runs if run.id not in existing]
    told = known(paths, set(ids))
    how = Counter(said["status"] for said in told.values() if said)
    failed = {failure["run"] for pack in plan.packs_of(study) for failure in _failures(paths, pack.id)}
    parts = [f"{len(ids) - len(missing)} of {len(ids)} runs done"]
    parts += [f"{how[status]} {status.replace('_', ' ')}" for status in sorted(how) if status != "completed"]
    if failed:
        parts.append(f"{len(failed)} failed")
    if missing:
        parts.append(f"about {duration(costs.seconds(missing))} of training to go")
    return ", ".join(parts)


def _failures(paths: Paths, pack_id: str) -> list[Mapping[str, Any]]:
    report = read_json(paths.failures(pack_id))
    return report.get("failures", []) if isinstance(report, dict) else []


def _running(paths: Paths) -> list[Progress]:
    """How far the packs are that are trained now: by their leases, or where there is none by a recent log."""
    owners = {owner.pack: owner for owner in read_owners(paths)}
    alive = {pack: owner for pack, owner in owners.items() if seems_alive(paths.lease(owner.pack), owner)}
    logs = {progress.pack: progress for progress in read_live(paths)}
    found = [log for pack, log in logs.items() if pack in alive or (pack not in owners and log.is_recent)]
    unlogged = [owner for pack, owner in alive.items() if pack not in logs]
    return found + [Progress(o.pack, o.host, o.pid, o.stamp, len(o.runs)) for o in unlogged]


def _running_table(running: Sequence[Progress], plan: Plan) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("training now", "runs", "run", "step", "loss", "sharpness"):
        table.add_column(column)
    for told in running:
        run = plan.runs.get(told.run)
        words = f"{describe_run(run) if run else told.run}{f': {told.status}' if told.status else ''}"
        step = f"{told.step} of {told.of}" if told.of else ""
        numbers = ("" if value is None else f"{value:.4g}" for value in (told.loss, told.sharpness))
        table.add_row(told.pack, f"{told.done} of {told.runs}", words, step, *numbers)
    return table


def _verdict_table(claims: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("claim", "verdict", "value", "interval", "judged on"):
        table.add_column(column)
    for claim in claims:
        interval = "" if claim["low"] is None else f"[{claim['low']:.3f}, {claim['high']:.3f}]"
        runs = ", ".join(f"{count} {part}" for part, count in claim["runs"].items() if part != "judged")
        verdict = f"[{_VERDICTS[claim['verdict']]}]{claim['verdict'].replace('_', ' ')}[/]"
        value = claim["reason"] if claim["value"] is None else f"{claim['value']:.3f}"
        table.add_row(claim["id"], verdict, value, interval.replace("[", r"\["), runs)
    return table


def show_members(kind: str) -> int:
    """Prints the members of a kind with their fields, defaults, units and sources."""
    console = _console()
    for cls in members(kind):
        source = f" ({cls.source})" if cls.source else ""
        console.print(f"[bold]{cls.name}[/bold] version {cls.version}{source}", highlight=False)
        console.print(f"  {(cls.__doc__ or '').strip().splitlines()[0]}", highlight=False, markup=False)
        for name, info in settings(cls).items():
            default = default_text(info)
            default = f"default {default}" if default and default != "required" else default
            unit = info.json_schema_extra.get("unit", "") if isinstance(info.json_schema_extra, dict) else ""
            details = ", ".join(filter(None, [info.description, default, f"in {unit}" if unit else ""]))
            console.print(f"    {name:<16} {details}", highlight=False, markup=False, soft_wrap=True)
    return 0
