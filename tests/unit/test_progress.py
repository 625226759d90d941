"""The progress display: what it counts, what it estimates, and what real invocations of Snakemake print with it."""

import json
import logging
import os
import pty
import re
import subprocess
import sys
import threading
import unicodedata
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text
from snakemake.settings.types import OutputSettings

import stepscape.progress
from snakemake_logger_plugin_stepscape import LogHandler
from stepscape.progress.course import Course, Job, duration
from stepscape.progress.expected import Expected, RunFile, Tally, seconds_left
from stepscape.progress.failure import TAIL_LINES, clean, explain_pack, read_account, read_ending, tail
from stepscape.progress.screen import LINE_SECONDS, PlainScreen, choose_screen
from stepscape.progress.watching import EVERY, watch
from stepscape.study.config import load_plan
from stepscape.study.paths import Paths

ROOT = Path(__file__).parents[2]
WEEK = 7 * 24 * 3600


# -- what is expected --------------------------------------------------------------------------------------------------


def test_what_is_expected_of_a_plan_is_what_is_missing():
    """Costs against those of whole packs, which the plan adds up itself."""
    plan = load_plan([str(ROOT / "config" / "studies" / "first_sweep.yaml")])
    first, second, *rest = plan.packs
    missing = {run.id for pack in (first, second) for run in pack.runs}
    expected = stepscape.progress.expect(plan, Paths(Path("results")), missing)

    assert rest
    assert expected.runs.keys() == missing
    assert expected.total == sum(len(pack.runs) for pack in plan.packs)
    for pack in (first, second):
        runs = [run for run in expected.runs.values() if run.pack == pack.id]
        assert sum(run.cost for run in runs) == pytest.approx(pack.cost)
    one = second.runs[0].id
    assert expected.runs[one].path == Path("results") / "runs" / one[:2] / f"{one}.zarr.zip"


# -- the count ---------------------------------------------------------------------------------------------------------


def expected_in(folder: Path, runs: dict[str, str], cost: float = 2.0) -> Expected:
    """Runs and the packs that train them, each run in the folder of its first two letters."""
    return Expected({run: RunFile(folder / run[:2] / run, cost, pack) for run, pack in runs.items()}, total=len(runs))


def publish(folder: Path, run: str) -> None:
    (folder / run[:2]).mkdir(exist_ok=True)
    (folder / run[:2] / run).touch()


def test_tally_counts_what_is_published_and_nothing_else(tmp_path):
    tally = Tally(expected_in(tmp_path, {"aa1": "p", "aa2": "p", "bb1": "q"}))
    assert tally.look(0.0) == 0  # no folder exists yet

    publish(tmp_path, "aa1")
    publish(tmp_path, "aa9")
    publish(tmp_path, "cc1")
    assert tally.look(1.0) == 1
    publish(tmp_path, "bb1")
    publish(tmp_path, "aa2")
    assert tally.look(2.0) == 2
    assert (tally.done, tally.to_go, tally.work_done, tally.work_to_go) == (3, 0, 6.0, 0.0)


def test_tally_takes_relative_paths_from_where_it_was_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tally = Tally(expected_in(Path(), {"aa1": "p"}))
    publish(tmp_path, "aa1")
    monkeypatch.chdir("/")
    assert tally.look(0.0) == 1


def test_tally_lists_only_directories_that_change(tmp_path, monkeypatch):
    runs = [f"{folder:02x}{number}" for folder in range(256) for number in range(3)]
    tally = Tally(expected_in(tmp_path, dict.fromkeys(runs, "p")))
    for run in runs[::3]:
        publish(tmp_path, run)
    assert tally.look(0.0) == 256
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(path) or scandir(path))

    assert tally.look(60.0) == 0
    assert listed == []
    publish(tmp_path, runs[1])
    assert tally.look(61.0) == 1
    assert listed == [tmp_path / "00"]


def test_tally_sees_a_second_run_under_the_same_time_stamp(tmp_path):
    tally = Tally(expected_in(tmp_path, {"aa1": "p", "aa2": "p"}))
    publish(tmp_path, "aa1")
    stamp = (tmp_path / "aa").stat()
    assert tally.look(0.0) == 1
    publish(tmp_path, "aa2")
    os.utime(tmp_path / "aa", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert tally.look(0.5) == 1


def test_tally_last_look_finds_what_time_stamps_hid(tmp_path):
    tally = Tally(expected_in(tmp_path, {"aa1": "p", "aa2": "p"}))
    publish(tmp_path, "aa1")
    stamp = (tmp_path / "aa").stat()
    tally.look(0.0)
    publish(tmp_path, "aa2")
    os.utime(tmp_path / "aa", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert tally.look(60.0) == 0
    assert tally.look(60.0, everywhere=True) == 1


def test_a_failed_pack_is_not_expected_until_it_is_tried_again(tmp_path):
    tally = Tally(expected_in(tmp_path, {"aa1": "p", "aa2": "p", "bb1": "q"}))
    publish(tmp_path, "aa1")
    tally.look(0.0)
    tally.give_up("p")
    assert (tally.failed, tally.to_go, tally.work_to_go) == (1, 1, 2.0)
    tally.expect_again("p")
    assert (tally.failed, tally.to_go, tally.work_to_go) == (0, 2, 4.0)


# -- the estimate ------------------------------------------------------------------------------------------------------


@given(
    speed=st.floats(0.01, 100),
    costs=st.lists(st.floats(0.1, 1e4), min_size=2, max_size=20),
    part=st.floats(0, 0.99),
)
def test_the_estimate_is_exact_where_work_goes_on_at_one_speed(speed, costs, part):
    work_done, following, work_to_go = costs[0], costs[1], sum(costs[1:])
    since = part * following / speed
    left = seconds_left(work_done=work_done, work_to_go=work_to_go, spent=work_done / speed, since=since, at_once=3)
    assert left == pytest.approx(work_to_go / speed - since)


def test_the_estimate_before_the_first_run_is_the_plan_shared_among_packs():
    assert seconds_left(work_done=0, work_to_go=120, spent=0, since=10, at_once=2) == 50


@pytest.mark.parametrize(
    ("since", "at_once"),
    [pytest.param(61, 2, id="took longer than planned"), pytest.param(1, 0, id="nothing runs")],
)
def test_no_estimate_rather_than_a_wrong_one(since, at_once):
    assert seconds_left(work_done=0, work_to_go=120, spent=0, since=since, at_once=at_once) is None


def test_the_speed_is_that_of_training_not_of_what_went_before(tmp_path):
    course = Course(expected_in(tmp_path, dict.fromkeys(["aa1", "aa2", "aa3", "aa4"], "p"), cost=20.0), now=0.0)
    course.planned = {"train_pack": 1, "total": 1}
    course.start(1, Job("train_pack", "p", "train_pack pack=p", "", 0.0), now=100.0)
    publish(tmp_path, "aa1")
    course.look(now=110.0)
    assert course.status(now=115.0).text == "1 of 4 runs, 3 to go, about 25 s left"  # 60 s of work at twice the speed


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (89.4, "89 s"), (90, "2 min"), (3600, "60 min"), (7200, "2 h"), (WEEK, "7 days")],
)
def test_a_duration_is_told_in_the_unit_that_fits(seconds, text):
    assert duration(seconds) == text


# -- plain lines -------------------------------------------------------------------------------------------------------


def lines_of(total: int, seconds: float) -> list[str]:
    """What is written of `total` runs that end evenly over a time, looked at twice a second or once a run."""
    out, now = StringIO(), [0.0]
    screen = PlainScreen(out, out, clock=lambda: now[0])
    looks = min(total, round(2 * seconds))
    for look in range(1, looks + 1):
        now[0] = seconds * look / looks
        done = total * look // looks
        screen.show("Training", done, total, f"{done} of {total}")
    return out.getvalue().splitlines()


def test_plain_lines_come_with_every_tenth_of_quick_work():
    assert lines_of(total=20, seconds=5) == [f"Training: {done} of 20" for done in range(2, 21, 2)]


def test_plain_lines_come_every_ten_seconds():
    assert len(lines_of(total=1000, seconds=500)) == pytest.approx(500 / LINE_SECONDS, abs=1)


def test_a_week_fills_hundreds_of_plain_lines_not_thousands():
    assert 500 < len(lines_of(total=100_000, seconds=WEEK)) < 1000


def test_plain_lines_say_nothing_while_nothing_changes():
    out, now = StringIO(), [0.0]
    screen = PlainScreen(out, out, clock=lambda: now[0])
    for now[0] in range(0, 3600, 10):
        screen.show("Training", 5, 100, "5 of 100")
    assert out.getvalue().splitlines() == ["Training: 5 of 100"]


def test_alarms_go_to_the_stream_of_errors():
    out, err = StringIO(), StringIO()
    screen = choose_screen(out, err, color=True)
    screen.say("a table")
    screen.say("an error", alarm=True)
    assert (out.getvalue(), err.getvalue()) == ("a table\n", "an error\n")


# -- accounts of failures ----------------------------------------------------------------------------------------------

ACCOUNT = {
    "pack": "p1",
    "command": "stepscape train-pack p1",
    "log": "results/logs/p1.log",
    "failures": [
        {"run": f"run{number}", "fields": "lr=0.2", "error": "ValueError: no", "log_tail": ["a", "b"]}
        for number in range(5)
    ],
}


def test_an_account_names_the_run_its_fields_its_error_and_the_command(tmp_path):
    (tmp_path / "p1.failed.json").write_text(json.dumps(ACCOUNT))
    lines = explain_pack(read_account(str(tmp_path / "p1.json"), begun=0.0)).splitlines()
    assert lines[:5] == [
        "Run run0 failed: lr=0.2",
        "    ValueError: no",
        "    Last lines of results/logs/p1.log:",
        "        a",
        "        b",
    ]
    assert lines[-2:] == ["2 more failed: run3 run4", "To train this pack again: stepscape train-pack p1"]


def test_an_error_that_many_runs_share_is_shown_with_its_log_once(tmp_path):
    (tmp_path / "p1.failed.json").write_text(json.dumps(ACCOUNT))
    account = read_account(str(tmp_path / "p1.json"), begun=0.0)
    assert explain_pack(account).count("Last lines") == 1
    assert explain_pack(account).count("ValueError: no") == 3
    assert explain_pack(account, told={"ValueError: no"}).count("Last lines") == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"command": "c", "log": "l", "failures": [{"run": "a", "log_tail": 3}]}',
        "{",
        "[]",
        "null",
        "3",
        '{"command": "c"}',
        '{"command": "c", "log": "l", "failures": 3}',
        '{"command": "c", "log": "l", "failures": []}',
        '{"command": "c", "log": "l", "failures": [{}]}',
        '{"command": "c", "log": "l", "failures": ["a"]}',
        '{"command": "c", "failures": [{"run": "a"}]}',
        "\udcff",
    ],
)
def test_an_account_that_makes_no_sense_is_as_good_as_none(tmp_path, text):
    (tmp_path / "p1.failed.json").write_bytes(text.encode(errors="surrogateescape"))
    assert read_account(str(tmp_path / "p1.json"), begun=0.0) is None


def test_an_account_without_log_lines_names_the_log(tmp_path):
    told = ACCOUNT | {"failures": [{"run": "run0"}]}
    (tmp_path / "p1.failed.json").write_text(json.dumps(told))
    assert "    See results/logs/p1.log\n" in explain_pack(read_account(str(tmp_path / "p1.json"), begun=0.0))


def test_an_account_of_an_earlier_invocation_is_not_believed(tmp_path):
    path = tmp_path / "p1.failed.json"
    path.write_text(json.dumps(ACCOUNT))
    written = path.stat().st_mtime
    assert read_account(str(tmp_path / "p1.json"), begun=written - 5) is not None
    assert read_account(str(tmp_path / "p1.json"), begun=written + 3600) is None


def test_the_tail_of_a_long_log_is_its_end(tmp_path):
    path = tmp_path / "log"
    path.write_text("".join(f"line {number}\n" for number in range(100_000)))
    assert tail(str(path)) == [f"line {number}" for number in range(100_000 - TAIL_LINES, 100_000)]
    assert len(tail(str(path), None)) == 100_000
    assert tail(str(tmp_path / "none")) == []


@given(st.text())
def test_nothing_that_steers_a_terminal_is_shown(text):
    shown = "".join(clean(text)).replace("\t", "")
    assert not [character for character in shown if unicodedata.category(character) == "Cc" and character < "\x80"]


def test_colours_and_redrawn_lines_of_a_log_are_shown_as_text():
    assert clean("10%\r20%\n\x1b[31;1mError\x1b[0m: no\n") == ["10%", "20%", "Error: no"]


@pytest.mark.parametrize(
    ("text", "ending"),
    [
        ("Command 'a' returned non-zero exit status 137.\n", "exit status 137"),
        ("Command 'a' died with <Signals.SIGKILL: 9>.", "SIGKILL"),
        ("MissingOutputException: a", None),
    ],
)
def test_how_a_command_ended_is_read_from_the_exception(text, ending):
    assert read_ending(text) == ending


# -- the handler -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "event", ["workflow_started", "run_info", "job_info", "job_finished", "job_error", "error", None]
)
def test_the_handler_survives_records_without_their_fields(event, monkeypatch):
    err = StringIO()
    monkeypatch.setattr(sys, "stderr", err)
    handler = LogHandler(OutputSettings(), None)
    handler.setFormatter(logging.Formatter())
    record = logging.LogRecord("snakemake", logging.ERROR, __file__, 1, "what happened", None, None)
    if event:
        record.event = event
    handler.emit(record)
    handler.close()
    handler.close()
    assert event == "workflow_started" or "what happened" in err.getvalue()


@pytest.mark.parametrize("option", ["verbose", "debug_dag"])
def test_snakemakes_own_output_is_left_to_those_who_want_all_of_it(option, capsys):
    handler = LogHandler(OutputSettings(**{option: True}), None)
    assert not handler.writes_to_stream
    handler.emit(logging.LogRecord("snakemake", logging.ERROR, __file__, 1, "text", None, None))
    handler.close()
    assert capsys.readouterr() == ("", "")


def test_loading_the_plugin_loads_nothing_heavy():
    code = "import sys, snakemake_logger_plugin_stepscape, stepscape.progress.display; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert not {"torch", "xarray", "zarr", "numpy", "pandas", "rich"} & set(loaded.stdout.split())


# -- Snakemake itself --------------------------------------------------------------------------------------------------

SNAKEFILE = """
import sys
from pathlib import Path
from stepscape.progress import Expected, RunFile, announce

PACKS = {"p0": ["aa01", "ab02", "aa03"], "p1": ["ba04", "bb05", "ba06"]}
FAIL = config.get("fail", "nothing")


def run_file(run):
    return f"results/runs/{run[:2]}/{run}.zarr.zip"


if FAIL == "plan":
    raise WorkflowError("grid[0].lr: 'fast' is not a number")
missing = {run: pack for pack, runs in PACKS.items() for run in runs if not Path(run_file(run)).exists()}
announce(Expected({run: RunFile(run_file(run), 0.2, pack) for run, pack in missing.items()}, total=6))


rule all:
    input:
        expand("results/studies/q/{figure}.svg", figure=["one", "two"]),


rule train_pack:
    output:
        "results/packs/{pack}.json",
    log:
        "results/logs/{pack}.log",
    params:
        runs=lambda wildcards: [run_file(run) for run in PACKS[wildcards.pack]],
    shell:
        "{sys.executable} {workflow.basedir}/trainer.py {output} {FAIL} {params.runs} > {log} 2>&1"


rule collect_study:
    input:
        expand("results/packs/{pack}.json", pack=PACKS),
    output:
        "results/studies/{study}/dataset",
    message:
        "Collecting {wildcards.study}"
    shell:
        "touch {output}"


rule draw_figure:
    input:
        "results/studies/{study}/dataset",
    output:
        "results/studies/{study}/{figure}.svg",
    log:
        "results/logs/{figure}_{study}.log",
    shell:
        "(echo drawing; test {FAIL} != draw) > {log}; touch {output}"
"""

TRAINER = """
import json, os, sys, time
from pathlib import Path

receipt, fail, *paths = sys.argv[1:]
receipt, failures = Path(receipt), []
for path in map(Path, paths):
    run = path.name.partition(".")[0]
    print("training", run, flush=True)
    time.sleep(0.2)
    if fail == "killed" and run == "bb05":
        os.kill(os.getpid(), 9)
    if fail == "both" and run in ("ab02", "bb05"):
        failures.append({"run": run, "fields": "model=mlp lr=0.2", "error": f"ValueError: {run}", "log_tail": ["nan"]})
        continue
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
if failures:
    told = {"pack": receipt.stem, "command": f"again {receipt.stem}", "log": "its.log", "failures": failures}
    receipt.with_suffix(".failed.json").write_text(json.dumps(told))
    sys.exit(1)
receipt.write_text("{}")
"""


def environment(**more: str) -> dict[str, str]:
    paths = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONWARNINGS": ""} | more


@pytest.fixture
def project(tmp_path):
    """A workflow with the rules of this project, a trainer that sleeps, and this project's default profile."""
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "trainer.py").write_text(TRAINER)
    (tmp_path / "profiles").symlink_to(ROOT / "workflow" / "profiles")
    return tmp_path


def snakemake(project: Path, *arguments: str) -> SimpleNamespace:
    """Runs Snakemake with its streams in pipes.

    Returns:
        Its status, and the lines of stdout and stderr.
    """
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
    done = subprocess.run(command, cwd=project, env=environment(), capture_output=True, text=True, timeout=60)
    assert "\x1b" not in done.stdout + done.stderr
    assert "\r" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return SimpleNamespace(status=done.returncode, out=done.stdout.splitlines(), err=done.stderr.splitlines()[1:])


def without_seconds(line: str) -> str:
    return re.sub(r"\d+ s\b", "N s", line)


def have_everything(project: Path) -> None:
    assert snakemake(project).status == 0


@pytest.mark.workflow
def test_a_whole_invocation_is_told_in_few_lines_and_the_next_in_one(project):
    done = snakemake(project)
    lines = [without_seconds(line) for line in done.err]
    assert done.status == 0
    assert done.out == []
    assert lines[0] == "Training 6 runs in 2 packs; then collect_study 1, draw_figure 2."
    assert lines[-1] == "Finished in N s: 6 runs trained, 3 other jobs done."
    progress = [line for line in lines if line.startswith("Training: ")]
    assert progress
    assert all(re.fullmatch(r"Training: \d of 6 runs, \d to go(, about N s left)?", line) for line in progress)
    others = [line for line in lines[1:-1] if line not in progress]
    assert sorted(others) == ["Collecting q", "draw_figure study=q figure=one", "draw_figure study=q figure=two"]

    again = snakemake(project)
    assert (again.status, again.out) == (0, [])
    assert again.err == ["Nothing to do: all 6 runs are there, and all that is made from them."]


@pytest.mark.workflow
def test_a_dry_run_says_which_jobs_and_how_many_runs(project):
    done = snakemake(project, "--dry-run")
    jobs = dict(line.split() for line in done.out[3:8])
    assert (done.status, done.err) == (0, [])
    assert jobs == {"train_pack": "2", "collect_study": "1", "draw_figure": "2", "all": "1", "total": "6"}
    assert [line for line in done.out[8:] if line and not line.startswith(" ")] == [
        "Would train 6 runs in 2 packs, an estimated 1 s of work; then collect_study 1, draw_figure 2.",
        "Reasons:",
        "This was a dry-run (flag -n). The order of jobs does not reflect the order of execution.",
    ]
    assert not (project / "results").exists()

    with_commands = snakemake(project, "--dry-run", "--printshellcmds")
    assert "    touch results/studies/q/dataset" in with_commands.out
    assert "    touch results/studies/q/dataset" not in done.out


@pytest.mark.workflow
def test_two_failing_packs_are_told_run_by_run(project):
    done = snakemake(project, "--keep-going", "--config", "fail=both")
    text = "\n".join(done.err)
    assert done.status == 1
    for run, pack in (("ab02", "p0"), ("bb05", "p1")):
        assert (
            f"Run {run} failed: model=mlp lr=0.2\n"
            f"    ValueError: {run}\n"
            f"    Last lines of its.log:\n"
            f"        nan\n"
            f"To train this pack again: again {pack}\n"
        ) in text
    assert "RuleException" not in text
    assert "At least one job did not complete successfully." in text
    last = without_seconds(done.err[-1])
    assert last.startswith("Not finished after N s: 4 runs trained, 2 not trained. The same snakemake command goes on")

    mended = snakemake(project)
    assert mended.status == 0
    assert mended.err[0] == "Training 2 runs in 2 packs (4 of 6 are there); then collect_study 1, draw_figure 2."


@pytest.mark.workflow
def test_a_killed_trainer_is_told_with_its_log_and_tried_again(project):
    done = snakemake(project, "--keep-going", "--retries", "1", "--config", "fail=killed")
    text = "\n".join(done.err)
    assert done.status == 1
    assert text.count("train_pack pack=p1 failed: exit status 137 (killed, most often because memory ran out)") == 2
    assert "    Last lines of results/logs/p1.log:\n        training ba04\n        training bb05\n" in text
    assert "    2 runs of this pack not trained; the same snakemake command trains what is missing" in text
    assert "train_pack pack=p1 is tried again" in done.err


@pytest.mark.workflow
def test_whole_logs_are_shown_to_those_who_ask(project):
    done = snakemake(project, "--show-failed-logs", "--config", "fail=both")
    text = "\n".join(done.err)
    assert "    results/logs/p1.log:\n        training ba04\n        training bb05\n        training ba06\n" in text
    assert "To train this pack again: again p1" in text


@pytest.mark.workflow
def test_another_failing_rule_is_told_with_its_log_and_command_even_quietly(project):
    have_everything(project)
    for figure in (project / "results" / "studies" / "q").glob("*.svg"):
        figure.unlink()
    done = snakemake(project, "--quiet", "rules", "progress", "--config", "fail=draw")
    start = next(number for number, line in enumerate(done.err) if line.startswith("draw_figure"))
    figure = "two" if "two" in done.err[start] else "one"
    assert done.status == 1
    log = f"results/logs/{figure}_q.log"
    assert done.err[start : start + 5] == [
        f"draw_figure study=q figure={figure} failed: exit status 1",
        f"    Last lines of {log}:",
        "        drawing",
        "    Command:",
        f"        (echo drawing; test draw != draw) > {log}; touch results/studies/q/{figure}.svg",
    ]
    assert not [line for line in done.err if "jobs" in line]


@pytest.mark.workflow
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param(["--config", "fail=plan"], "grid[0].lr: 'fast' is not a number", id="in the Snakefile"),
        pytest.param(["nowhere.txt"], "No rule to produce nowhere.txt", id="missing rule"),
        pytest.param(["--dry-run", "nowhere.txt"], "No rule to produce nowhere.txt", id="missing rule, dry run"),
    ],
)
def test_snakemakes_own_errors_stay_on_stderr(project, arguments, told):
    done = snakemake(project, *arguments)
    assert done.status == 1
    assert any(told in line for line in done.err)
    assert done.out == []


@pytest.mark.workflow
def test_a_target_that_needs_some_packs_is_not_promised_all_runs(project):
    done = snakemake(project, "results/packs/p0.json")
    assert done.err[0] == "Training at most 6 runs in 1 pack."
    assert without_seconds(done.err[-1]) == "Finished in N s: 3 runs trained."


@pytest.mark.workflow
def test_a_terminal_shows_one_line_that_is_redrawn_and_then_removed(project):
    shown = on_terminal([sys.executable, "-m", "snakemake", "--cores", "2", "-k", "--config", "fail=both"], project)
    frames = [line for line in re.split(r"[\r\n]+", shown) if "━" in line]
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert len(frames) > 3
    assert re.search(r"Training ━+ 0 of 6 runs, 6 to go", text)
    assert "1 failed, " in text
    assert "Run ab02 failed: model=mlp lr=0.2\r\n" in text
    _, _, rest = shown.rpartition("━")
    assert "\x1b[?25h" in rest  # the cursor is back
    assert re.search(r"\x1b\[2KNot finished after \d+ s: 4 runs trained", rest)  # on a line that was erased


def on_terminal(command: list[str], folder: Path) -> str:
    """Returns all that a command writes to a terminal of 120 columns."""
    ours, theirs = pty.openpty()
    env = environment(TERM="xterm-256color", COLUMNS="120", LINES="40")
    process = subprocess.Popen(command, cwd=folder, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    written = b""
    try:
        while chunk := os.read(ours, 65_536):
            written += chunk
    except OSError:  # how Linux says that the other end is closed
        pass
    finally:
        process.wait()
        watchdog.cancel()
        os.close(ours)
    return written.decode()


def test_the_default_profile_holds_the_display_only():
    """Anything else here would replace the same key of the profile that a person asked for."""
    profile = yaml.safe_load((ROOT / "workflow" / "profiles" / "default" / "config.yaml").read_text())
    assert profile == {"logger": "stepscape"}


def test_announcing_again_replaces_what_was_announced(tmp_path, monkeypatch):
    monkeypatch.setattr("stepscape.progress.expected._latest", [])
    assert stepscape.progress.announced() is None
    for total in (1, 2):
        stepscape.progress.announce(Expected({}, total))
    assert stepscape.progress.announced() == Expected({}, 2)


# -- watching ----------------------------------------------------------------------------------------------------------


def watched(looks: list[str], *, terminal: bool, done_after: int) -> tuple[bool, str, int]:
    """Whether it came to an end, what was written, and how often it waited."""
    out, waits, told = StringIO(), [], iter(looks)
    console = Console(file=out, force_terminal=terminal, width=60, highlight=False)

    def sleep(seconds: float) -> None:
        assert seconds == EVERY
        waits.append(seconds)

    ended = watch(lambda: [Text(next(told))], lambda: len(waits) >= done_after, console, sleep)
    return ended, out.getvalue(), len(waits)


def test_watching_prints_what_has_changed_below_where_there_is_no_terminal():
    looks = ["1 of 3", "1 of 3", "2 of 3", "a title that is much longer than the sixty letters of the terminal"]
    ended, text, waits = watched(looks, terminal=False, done_after=4)
    assert ended
    assert waits == 4
    assert text.splitlines() == ["1 of 3", "2 of 3", looks[-1]]


def test_watching_redraws_one_picture_on_a_terminal_and_leaves_none():
    ended, text, waits = watched(["1 of 3", "2 of 3"], terminal=True, done_after=2)
    assert ended
    assert waits == 2
    assert text.index("1 of 3") < text.index("\x1b[2K") < text.index("2 of 3"), "in place of the first"
    assert "\x1b[2K" in text.rpartition("2 of 3")[2], "the last picture is erased"
    assert "\x1b[?25h" in text, "the cursor comes back"


def test_what_is_done_is_not_watched():
    assert watched([], terminal=True, done_after=0)[0]
    assert watched([], terminal=False, done_after=0)[:2] == (True, "")


@pytest.mark.parametrize("terminal", [True, False])
def test_an_interrupt_ends_the_watching_only(terminal):
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    console = Console(file=StringIO(), force_terminal=terminal)
    assert watch(lambda: [Text("1 of 3")], lambda: False, console, interrupted) is False
