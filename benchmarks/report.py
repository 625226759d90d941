"""What a study's page costs: bytes, seconds to make it, seconds until it can be used, and what a click takes.

The quickstart is measured from its results, if they are there; then runs whose numbers fall as the root of the steps,
with 10 % of noise on each, every step told. Needs Chromium where Debian puts it, and playwright. Of several clicks the
slowest counts.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from playwright.sync_api import CDPSession

from benchmarks.collect import judge, write_runs
from stepscape.cli import main as stepscape
from stepscape.report.study import report_study
from stepscape.store.collect import collect_study
from stepscape.study.paths import Paths
from stepscape.study.spec import Study, load_study
from tests.browser.chromium import Visit, browser

MEGABYTES, CLICK_S = 3.0, 0.2
WIDTHS = (1440, 390)
CLICKS = 6
FIGURES = ["loss_curves", "sharpness_over_threshold", "final_sharpness"]


def make_study(folder: Path, runs: int, steps: int) -> Study:
    """Two optimizers, five learning rates, five batch sizes, and as many seeds as give `runs` runs."""
    content = {
        "title": "Noise",
        "defaults": {
            "dataset": {"name": "digits", "train_size": 500},
            "model": {"name": "mlp", "hidden": [32]},
            "loss": "mse",
            "budget": {"steps": steps},
        },
        "grid": [
            {
                "optimizer": ["gd", "adam"],
                "lr": [0.005, 0.01, 0.02, 0.05, 0.1],
                "batch_size": [16, 32, 64, 128, "full"],
                "seed": list(range(max(runs // 50, 1))),
            }
        ],
        "observe": {"losses": {"every": 1}, "hessian_top": {"every": 20, "k": 4}, "preconditioned_top": {"every": 20}},
        "figures": FIGURES,
    }
    path = folder / "noise.yaml"
    path.write_text(yaml.safe_dump(content))
    return load_study(path)


def noise(folder: Path, runs: int, steps: int) -> tuple[Study, Paths]:
    """A study of noise, collected and drawn."""
    study, paths = make_study(folder, runs, steps), Paths(folder / "results")
    write_runs(study.runs, paths, positive=True)
    collect_study(study, paths)
    for figure in FIGURES:
        stepscape(["draw", str(study.path), figure, "--results", str(paths.root)])
    return study, paths


def click_seconds(visit: Visit) -> Iterator[tuple[str, float, float]]:
    """What presses of cells and of whole maps take until all is drawn, the slowest: wall seconds, and those of CPU.

    CPU seconds are of the page's main thread, so they hold on a machine that does other things too.
    """
    script = """async ([selector, place]) => {
        const button = document.querySelectorAll(selector)[place];
        const started = performance.now();
        button.click();
        while (document.body.dataset.busy) await new Promise((resume) => setTimeout(resume));
        await new Promise((resume) => requestAnimationFrame(() => setTimeout(resume)));
        return performance.now() - started;
    }"""
    devtools = visit.page.context.new_cdp_session(visit.page)
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
    for name, selector in (("a cell", "[data-cell]"), ("a whole map", "[data-setting]")):
        count = visit.page.locator(selector).count()
        taken = []
        for place in range(min(CLICKS, count)):
            before = _cpu(devtools)
            wall = visit.page.evaluate(script, [selector, (place * count) // CLICKS if count > CLICKS else place]) / 1e3
            taken.append((wall, _cpu(devtools) - before))
        yield name, max(wall for wall, _ in taken), max(cpu for _, cpu in taken)


def _cpu(devtools: CDPSession) -> float:
    metrics = devtools.send("Performance.getMetrics")["metrics"]
    return float(next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration"))


def show(name: str, study: Study, paths: Paths) -> None:
    """Prints what the page of a study costs, and whether the bars are met."""
    cpu = time.process_time()
    page = report_study(study, paths)
    built = time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    megabytes = page.stat().st_size / 1e6
    print(f"{name}: {len(study.runs)} runs, made in {built:.1f} CPU s, {peak:.0f} MB at most")
    judge("page", megabytes, MEGABYTES, "MB")
    with browser() as chromium:
        for width in WIDTHS:
            context = chromium.new_context(viewport={"width": width, "height": 1000})
            visit = Visit(context.new_page())
            started = time.perf_counter()
            visit.open(page)
            ready = time.perf_counter() - started
            visit.page.select_option("#lines", "auto")
            print(f"{width} px wide: ready after {ready:.2f} s")
            for name, wall, spent in click_seconds(visit):
                judge(f"  {name} ({wall:.2f} s by the clock), CPU", spent, CLICK_S, "s")
            assert visit.faults == [], visit.faults
            context.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints all of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="runs of noise")
    parser.add_argument("--steps", type=int, default=1077, help="updates of each")
    options = parser.parse_args(arguments)
    here = Paths(Path("results"))
    if here.dataset_marker("quickstart").exists():
        show("quickstart", load_study("config/studies/quickstart.yaml"), here)
    with tempfile.TemporaryDirectory() as folder:
        show("noise", *noise(Path(folder), options.runs, options.steps))


if __name__ == "__main__":
    main()
