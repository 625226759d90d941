"""The `stepscape` command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(
        _variable, "1"
    )  # before numpy and torch: threads change the last bits, and one is fastest here

from stepscape import __version__  # noqa: E402
from stepscape.errors import StepscapeError, StorageError  # noqa: E402
from stepscape.registry import KINDS  # noqa: E402
from stepscape.study.paths import DataPaths, Paths  # noqa: E402


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: the words behind `stepscape`; those of the process if None.

    Returns:
        0; 1 where something is wrong, which is then told on standard error.

    Raises:
        OSError: one that no command foresees, and that speaks of no disk.
    """
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except StepscapeError as error:
        print(error, file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if not StorageError.speaks_of(error):
            raise
        print(StorageError(error.filename or Path.cwd(), error), file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="stepscape", description="Maps how neural networks train.")
    parser.add_argument("--version", action="version", version=f"stepscape {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    plan = commands.add_parser("plan", help="runs, packs, what exists, what would be trained; writes nothing")
    plan.add_argument("studies", nargs="*", metavar="STUDY", help="default: those of config/config.yaml")
    plan.add_argument("--results", help="default: that of config/config.yaml")
    plan.set_defaults(run=_plan)

    status = commands.add_parser("status", help="done, running, failed, diverged; verdicts and figures")
    status.add_argument("studies", nargs="*", metavar="STUDY", help="default: those of config/config.yaml")
    status.add_argument("--results", help="default: that of config/config.yaml")
    status.add_argument("--watch", action="store_true", help="follow the training until all is made")
    status.set_defaults(run=_status)

    listing = commands.add_parser("list", help="the members of a kind, with fields, units and sources")
    listing.add_argument("kind", choices=sorted(KINDS), metavar="KIND", help=", ".join(sorted(KINDS)))
    listing.set_defaults(run=_list)

    verify = commands.add_parser(
        "verify", help="checks a run file, a results folder or an archive; names what is damaged"
    )
    verify.add_argument("path", type=Path)
    verify.set_defaults(run=_verify)

    selftest = commands.add_parser(
        "selftest", help="says whether runs have the same bytes here, whatever trains beside"
    )
    selftest.add_argument("studies", nargs="*", help="whose architectures are tried; default: those of the config")
    selftest.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    selftest.set_defaults(run=_selftest)

    replay = commands.add_parser("replay", help="trains a run again from its file; says whether the bytes agree")
    replay.add_argument("given", metavar="RUN", help="its id, the first digits of it, or the path of its file")
    source = replay.add_mutually_exclusive_group()
    source.add_argument("--results", help="default: that of config/config.yaml")
    source.add_argument("--archive", type=Path, help="the run is in this archive")
    replay.add_argument("--data-root", help="default: that of config/config.yaml")
    replay.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: as it was trained")
    replay.set_defaults(run=_replay)

    report = commands.add_parser("report", help="writes the page of each study: claims, explorer, figures, runs")
    report.add_argument("studies", nargs="*", metavar="STUDY", help="default: those of config/config.yaml")
    report.add_argument("--results", help="default: that of config/config.yaml")
    report.set_defaults(run=_report)

    _add_keeping(commands)
    reference = commands.add_parser(
        "reference", help="writes config/README.md, docs/members and the schema from the code"
    )
    reference.add_argument("--check", action="store_true", help="write nothing; status 1 if they are stale")
    reference.set_defaults(run=_reference)

    _add_jobs(commands)
    return parser


def _add_keeping(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    archive = commands.add_parser("archive", help="puts all results of a study into one file")
    archive.add_argument("study", help="its name, or its file")
    archive.add_argument("--output", type=Path, metavar="FILE", help="default: <study>.zip in results/archives")
    archive.add_argument("--results", help="default: that of config/config.yaml")
    archive.set_defaults(run=_archive)

    unpack = commands.add_parser("unpack", help="lays out an archive: its study, and results that are complete")
    unpack.add_argument("archive", type=Path)
    unpack.add_argument("folder", type=Path, help="the root of a checkout, or any other folder")
    unpack.set_defaults(run=_unpack)

    atlas = commands.add_parser("atlas", help="writes what the studies of config/atlas.yaml found, as pages")
    atlas.add_argument("--config", type=Path, default=Path("config/atlas.yaml"), help="default: %(default)s")
    atlas.add_argument("--output", type=Path, default=Path("docs/atlas"), metavar="FOLDER", help="default: %(default)s")
    atlas.set_defaults(run=_atlas)

    gc = commands.add_parser("gc", help="lists what no study in config/studies needs")
    gc.add_argument("--delete", action="store_true", help="remove it")
    gc.add_argument("--results", help="default: that of config/config.yaml")
    gc.set_defaults(run=_gc)


def _add_jobs(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    train = commands.add_parser("train-pack", help="job: trains what is missing of a pack")
    train.add_argument("pack")
    train.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    train.add_argument(
        "--checkpoint-every", type=float, default=60.0, metavar="SECONDS", help="how often its state is saved"
    )
    train.add_argument("--data-root", default=str(DataPaths().root))
    prepare = commands.add_parser("prepare-data", help="job: fetches and checks a dataset's archives, makes its arrays")
    prepare.add_argument("dataset")
    prepare.add_argument("--data-root", default=str(DataPaths().root))
    prepare.set_defaults(run=_prepare)
    collect = commands.add_parser("collect", help="job: makes a study's dataset and table")
    workers = collect.add_mutually_exclusive_group()
    workers.add_argument("--workers", type=int, default=1, help="processes that share the work; default: 1")
    workers.add_argument("--scheduler", metavar="ADDRESS", help="a scheduler of dask.distributed that shares it out")
    judge = commands.add_parser("judge", help="job: judges a study's claims")
    draw = commands.add_parser("draw", help="job: draws a figure of a study")
    index = commands.add_parser("index", help="job: writes the page that leads to those of all studies")
    jobs = {train: _train, collect: _collect, judge: _judge, draw: _draw, index: _index}
    for job, run in jobs.items():
        job.add_argument("--results", type=Path, default=Path("results"))
        job.set_defaults(run=run)
        if job not in (train, index):
            job.add_argument("study", help="its name, or its file")
    draw.add_argument("figure", help="its id")


def _plan(options: argparse.Namespace) -> int:
    from stepscape import overview

    return overview.show_plan(options.studies, options.results)


def _status(options: argparse.Namespace) -> int:
    from stepscape import overview

    return overview.show_status(options.studies, options.results, follow=options.watch)


def _list(options: argparse.Namespace) -> int:
    from stepscape import overview

    return overview.show_members(options.kind)


def _verify(options: argparse.Namespace) -> int:
    from stepscape.store.verify import verify

    return verify(options.path)


def _selftest(options: argparse.Namespace) -> int:
    from stepscape import overview

    return overview.show_selftest(options.studies, options.device)


def _replay(options: argparse.Namespace) -> int:
    from stepscape.datasets._root import use_data_root
    from stepscape.study.config import CONFIG, read_config
    from stepscape.training.replay import find_run, replay, replay_archived

    if options.data_root or CONFIG.is_file():
        use_data_root(options.data_root or read_config().data_root)
    if options.archive:
        return replay_archived(options.archive, options.given, options.device)
    return replay(find_run(options.given, options.results), options.device)


def _report(options: argparse.Namespace) -> int:
    from stepscape.report.study import report_study
    from stepscape.study.config import read_config, study_path
    from stepscape.study.spec import load_study

    paths = Paths(Path(options.results or read_config().results))
    for name in options.studies or read_config().studies:
        print(report_study(load_study(study_path(name)), paths))
    return 0


def _archive(options: argparse.Namespace) -> int:
    from stepscape.archive.contents import archive_study
    from stepscape.study.config import read_config, study_path
    from stepscape.study.spec import load_study

    paths = Paths(Path(options.results or read_config().results))
    made = archive_study(load_study(study_path(options.study)), paths, options.output)
    print(f"{made}: {made.stat().st_size / 1e6:.1f} MB")
    return 0


def _unpack(options: argparse.Namespace) -> int:
    from stepscape.archive.unpacking import unpack

    print(*unpack(options.archive, options.folder), sep="\n")
    return 0


def _atlas(options: argparse.Namespace) -> int:
    from stepscape.atlas import write_atlas

    print(*write_atlas(options.config, options.output), sep="\n")
    return 0


def _gc(options: argparse.Namespace) -> int:
    from stepscape.store.garbage import collect_garbage

    return collect_garbage(options.results, delete=options.delete)


def _reference(options: argparse.Namespace) -> int:
    from stepscape.study.reference import write_reference

    return write_reference(check=options.check)


def _train(options: argparse.Namespace) -> int:
    from stepscape.store.joblog import begin_log

    paths = Paths(options.results, DataPaths(Path(options.data_root)))
    begin_log(paths, options.pack)  # before torch is imported, which takes a while

    from stepscape.datasets._root import use_data_root
    from stepscape.training.pack import StoppedError, train_pack

    use_data_root(options.data_root)
    try:
        complete = train_pack(options.pack, paths, options.device, options.checkpoint_every)
    except StoppedError as stopped:
        print(stopped)
        return 128 + stopped.signal
    return 0 if complete else 1


def _prepare(options: argparse.Namespace) -> int:
    from stepscape.store.archives import prepare_data

    print(prepare_data(options.dataset, DataPaths(Path(options.data_root))))
    return 0


def _collect(options: argparse.Namespace) -> int:
    from stepscape.store.collect import collect_study
    from stepscape.store.executors import executor_of
    from stepscape.study.config import study_path
    from stepscape.study.spec import load_study

    study = load_study(study_path(options.study))
    with executor_of(options.workers, options.scheduler) as executor:
        collect_study(study, Paths(options.results), executor)
    return 0


def _judge(options: argparse.Namespace) -> int:
    from stepscape.analysis.verdicts import judge_study
    from stepscape.store.collect import open_study
    from stepscape.store.files import write_json
    from stepscape.study.config import study_path
    from stepscape.study.spec import load_study

    study = load_study(study_path(options.study))
    paths = Paths(options.results)
    write_json(paths.claims(study.name), {"claims": judge_study(study, open_study(paths.study(study.name)))})
    return 0


def _draw(options: argparse.Namespace) -> int:
    os.environ["MPLBACKEND"] = "Agg"  # another, such as a notebook's, need not be installed here
    from stepscape.analysis.verdicts import pick
    from stepscape.figures._saving import rendered
    from stepscape.store.collect import open_study
    from stepscape.store.files import write_atomically
    from stepscape.study.config import study_path
    from stepscape.study.spec import load_study

    study = load_study(study_path(options.study))
    paths = Paths(options.results)
    entry = next((entry for entry in study.figures if entry.id == options.figure), None)
    if entry is None:
        raise StepscapeError(f"{study.path}: no figure {options.figure!r}; it has {[e.id for e in study.figures]}")
    figure = entry.member.draw(pick(study, entry, open_study(paths.study(study.name))).load())
    for ending in ("svg", "png"):
        write_atomically(paths.figure(study.name, entry.id, ending), rendered(figure, ending))
    return 0


def _index(options: argparse.Namespace) -> int:
    from stepscape.report.index import write_index

    print(write_index(Paths(options.results)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
