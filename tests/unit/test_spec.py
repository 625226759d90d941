"""Study files: what they may hold, and what is told of a broken one: where, what is given, allowed, and to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepscape.errors import FileError, Mistake, listed
from stepscape.registry import find, names, settings
from stepscape.study.run import Run
from stepscape.study.spec import StudyFile, load_study
from tests.planning import SHIPPED, VALID, edited, in_block, load, told, write

RUN_KEYS = listed(set(settings(Run)) - {"observe"}) + ", and their fields, such as optimizer.beta1"
BLOCK_KEYS = listed({*settings(Run), "points", "zip", "exclude"}) + ", and their fields, such as optimizer.beta1"
TOP_KEYS = listed(settings(StudyFile))
IDS = "small letters, digits and _: it becomes the name of files"
NEEDS_QUOTES = "text; what looks like a number or a date needs quotes"
MAPPING = "a mapping of keys to values"
REQUIRED = "a value: this key is required"
CLAIM = "name: hovers_at_threshold"
BRACKETS = "brackets make a list, [32, 32]; two of them an axis of lists, [[32, 32], [64]]"
RUN = "gd lr=0.1 batch_size=full seed=0 mlp mse digits"
DATASET = "{name: digits, train_size: 100, test_size: 20}"


def claimed(extra: str) -> tuple[str, str]:
    """The edit that adds keys to the claim of the valid study, in line 16."""
    return CLAIM, f"{CLAIM}, {extra}"


def lr(value: str) -> tuple[str, str]:
    """The edit that gives another learning rate, in line 10."""
    return "[0.1, 0.2]", value


def fields_of(kind: str, name: str) -> str:
    cls = find(kind, name)
    assert cls is not None
    return listed(settings(cls))


def wrong(line: int | None, where: str, given: str, allowed: str, remedy: str = "") -> Mistake:
    return Mistake(where, given, allowed, remedy, line)


ONE_MISTAKE = {
    # keys
    "unknown key": (
        [("figures:", "figure:")],
        wrong(17, "figure", "unknown key 'figure'", TOP_KEYS, "did you mean 'figures'?"),
    ),
    "unknown key of a block": (
        [("    seed:", "    sede:")],
        wrong(11, "grid[0].sede", "unknown key 'sede'", BLOCK_KEYS, "did you mean 'seed'?"),
    ),
    "misspelt exclude": (
        [in_block("    exclde: []\n")],
        wrong(12, "grid[0].exclde", "unknown key 'exclde'", BLOCK_KEYS, "did you mean 'exclude'?"),
    ),
    "unknown key of defaults": (
        [("  loss: mse\n", "  loss: mse\n  optimiser: gd\n")],
        wrong(7, "defaults.optimiser", "unknown key 'optimiser'", RUN_KEYS, "did you mean 'optimizer'?"),
    ),
    "key of a block in defaults": (
        [("  loss: mse\n", "  loss: mse\n  zip: {}\n")],
        wrong(7, "defaults.zip", "unknown key 'zip'", RUN_KEYS),
    ),
    "field of an unknown part": (
        [in_block("    optimiser.beta1: 0.9\n")],
        wrong(
            12,
            "grid[0].optimiser.beta1",
            "unknown key 'optimiser.beta1'",
            BLOCK_KEYS,
            "did you mean 'optimizer.beta1'?",
        ),
    ),
    "no field behind the dot": (
        [in_block("    optimizer.: 0.9\n")],
        wrong(12, "grid[0].optimizer.", "unknown key 'optimizer.'", BLOCK_KEYS, "did you mean 'optimizer'?"),
    ),
    "field that a member has not, told once": (
        [in_block("    model.hiden: [[4], [8]]\n")],
        wrong(
            12,
            "grid[0].model.hiden",
            "unknown field 'hiden' of model mlp",
            f"fields of model mlp: {fields_of('model', 'mlp')}",
            "did you mean 'hidden'?",
        ),
    ),
    "field of a member without fields": (
        [in_block("    optimizer.beta1: [0.5, 0.9]\n")],
        wrong(12, "grid[0].optimizer.beta1", "unknown field 'beta1' of optimizer gd", "fields of optimizer gd: none"),
    ),
    "field of a part that is not there": (
        [in_block("    stop.train_loss: [0.1]\n")],
        wrong(
            12,
            "grid[0].stop.train_loss",
            "stop.train_loss for runs without stop",
            "runs that have one",
            "give `stop` too",
        ),
    ),
    "unknown field of a member": (
        [("hidden: [8]", "hiden: [8]")],
        wrong(5, "defaults.model.hiden", "unknown key 'hiden'", fields_of("model", "mlp"), "did you mean 'hidden'?"),
    ),
    "unknown field of an observable": (
        [("k: 2", "kk: 2")],
        wrong(
            14,
            "observe.hessian_top.kk",
            "unknown key 'kk'",
            fields_of("observable", "hessian_top"),
            "did you mean 'k'?",
        ),
    ),
    "unknown field of a claim": (
        [claimed("hi: 2")],
        wrong(
            16,
            "claims[0].hi",
            "unknown key 'hi'",
            fields_of("claim", "hovers_at_threshold"),
            "did you mean 'high'?",
        ),
    ),
    "unknown field of a figure": (
        [("- loss_curves", "- {name: loss_curves, windw: 3}")],
        wrong(
            18, "figures[0].windw", "unknown key 'windw'", fields_of("figure", "loss_curves"), "did you mean 'window'?"
        ),
    ),
    "unknown field of the budget": (
        [("steps: 40", "stepz: 40")],
        wrong(7, "defaults.budget.stepz", "unknown key 'stepz'", "epochs, samples, steps", "did you mean 'steps'?"),
    ),
    "key that is no text": (
        [("  loss: mse\n", "  loss: mse\n  yes: 1\n")],
        wrong(
            7,
            "defaults",
            "the key yes",
            "keys that are text",
            "quote a key that YAML takes for a number, a date, or yes or no",
        ),
    ),
    "key twice": (
        [("    seed:", "    lr: 0.3\n    seed:")],
        wrong(11, "grid[0].lr", "this key a second time; the first is in line 10", "each key once"),
    ),
    "key twice, once in zip": (
        [in_block("    zip: {lr: [1, 2]}\n")],
        wrong(10, "grid[0].lr", "a key that stands elsewhere in this block too", "each key once"),
    ),
    "required key missing": ([("title: A small study\n", "")], wrong(None, "title", "nothing", REQUIRED)),
    "required key empty": ([("title: A small study\n", "title:\n")], wrong(1, "title", "nothing", REQUIRED)),
    "runs without what every run has": (
        [("  loss: mse\n", ""), ("  budget: {steps: 40}\n", "")],
        wrong(
            7,
            "grid[0]",
            "no loss, no budget",
            "each of dataset, model, loss, optimizer, budget",
            "give it here or in `defaults`",
        ),
    ),
    # members
    "unknown dataset": (
        [("name: digits", "name: digit")],
        wrong(
            4, "defaults.dataset.name", "unknown dataset 'digit'", listed(names("dataset")), "did you mean 'digits'?"
        ),
    ),
    "unknown model": (
        [("name: mlp", "name: mpl")],
        wrong(5, "defaults.model.name", "unknown model 'mpl'", listed(names("model")), "did you mean 'mlp'?"),
    ),
    "unknown loss": (
        [("loss: mse", "loss: mze")],
        wrong(6, "defaults.loss", "unknown loss 'mze'", listed(names("loss")), "did you mean 'mse'?"),
    ),
    "unknown optimizer": (
        [("optimizer: gd", "optimizer: [gd, addam]")],
        wrong(
            9, "grid[0].optimizer[1]", "unknown optimizer 'addam'", listed(names("optimizer")), "did you mean 'adam'?"
        ),
    ),
    "unknown schedule": (
        [in_block("    schedule: constnt\n")],
        wrong(
            12, "grid[0].schedule", "unknown schedule 'constnt'", listed(names("schedule")), "did you mean 'constant'?"
        ),
    ),
    "unknown observable": (
        [("hessian_top:", "hesian_top:")],
        wrong(
            14,
            "observe.hesian_top",
            "unknown observable 'hesian_top'",
            listed(names("observable")),
            "did you mean 'hessian_top'?",
        ),
    ),
    "unknown claim": (
        [("hovers_at", "hover_at")],
        wrong(
            16,
            "claims[0].name",
            "unknown claim 'hover_at_threshold'",
            listed(names("claim")),
            "did you mean 'hovers_at_threshold'?",
        ),
    ),
    "unknown figure": (
        [("- loss_curves", "- loss_curve")],
        wrong(
            18,
            "figures[0].name",
            "unknown figure 'loss_curve'",
            listed(names("figure")),
            "did you mean 'loss_curves'?",
        ),
    ),
    "member without a name": (
        [("name: mlp, ", "")],
        wrong(
            5,
            "defaults.model",
            "{hidden: [8]}",
            f"a name, or {{name: ..., fields}}, with one of the names {listed(names('model'))}",
        ),
    ),
    "claim without a name": (
        [(f", {CLAIM}", "")],
        wrong(16, "claims[0]", "{id: 'edge'}", f"a name, or {{name: ..., fields}}: {listed(names('claim'))}"),
    ),
    # types
    "title that is a number": ([("A small study", "2024")], wrong(1, "title", "2024", NEEDS_QUOTES)),
    "source that is a number": (
        [("arXiv:2103.00065", "2103.00065")],
        wrong(2, "sources[0]", "2103.00065", NEEDS_QUOTES),
    ),
    "sources that are no list": (
        [("[arXiv:2103.00065]", "arXiv:2103.00065")],
        wrong(2, "sources", "'arXiv:2103.00065'", "a list"),
    ),
    "block that is no mapping": (
        [("observe:\n", "  - 3\nobserve:\n")],
        wrong(12, "grid[1]", "3", "a mapping of keys to values or lists of values"),
    ),
    "empty block": (
        [("observe:\n", "  -\nobserve:\n")],
        wrong(12, "grid[1]", "nothing", "a mapping of keys to values or lists of values"),
    ),
    "observables as a list": (
        [("  losses: {every: 1}\n  hessian_top: {every: 20, k: 2}\n", "  - losses\n")],
        wrong(12, "observe", "['losses']", MAPPING),
    ),
    "observables of a block as text": (
        [in_block("    observe: losses\n")],
        wrong(12, "grid[0].observe", "'losses'", "a mapping of observables to their clocks"),
    ),
    "observables that are false": (
        [in_block("    observe: false\n")],
        wrong(12, "grid[0].observe", "false", "a mapping of observables to their clocks"),
    ),
    "observable without a clock": (
        [("{every: 1}", "")],
        wrong(13, "observe.losses", "nothing", "a clock, such as {every: 10}"),
    ),
    "observable with a number": (
        [("{every: 1}", "10")],
        wrong(13, "observe.losses", "10", "a clock, such as {every: 10}"),
    ),
    "observable with fields but no clock": (
        [("{every: 20, k: 2}", "{k: 2}")],
        wrong(14, "observe.hessian_top", "{k: 2}", "a clock: `every`, `at` or `pairs`"),
    ),
    "observable with a name": (
        [("{every: 1}", "{every: 1, name: losses}")],
        wrong(13, "observe.losses.name", "'losses'", "no `name`: the key is the observable's name"),
    ),
    "claims as a mapping": (
        [("  - {id: edge, name: hovers_at_threshold}", "  edge: {name: hovers_at_threshold}")],
        wrong(15, "claims", "{edge: {name: 'hovers_at_threshold'}}", "a list"),
    ),
    "list where a field holds one": ([("hidden: [8]", "hidden: 8")], wrong(5, "defaults.model.hidden", "8", "a list")),
    "axis of numbers of a field that holds a list": (
        [in_block("    model.hidden: [4]\n")],
        wrong(12, "grid[0].model.hidden[0]", "4", "a list", BRACKETS),
    ),
    "entry of a list in an axis": (
        [in_block("    model.hidden: [[4], [8, x]]\n")],
        wrong(12, "grid[0].model.hidden[1][1]", "'x'", "a whole number"),
    ),
    # values
    "empty axis": ([lr("[]")], wrong(10, "grid[0].lr", "an empty list", "at least one value")),
    "negative lr": ([lr("[0.1, -0.2]")], wrong(10, "grid[0].lr[1]", "-0.2", "a number above 0")),
    "lr of zero": ([lr("0")], wrong(10, "grid[0].lr", "0", "a number above 0")),
    "lr that is not a number": ([lr(".nan")], wrong(10, "grid[0].lr", ".nan", "a number above 0")),
    "lr that is infinite": ([lr(".inf")], wrong(10, "grid[0].lr", ".inf", "a finite number")),
    "lr beyond floats": ([lr("1e400")], wrong(10, "grid[0].lr", "'1e400'", "a finite number")),
    "lr that is true": ([lr("true")], wrong(10, "grid[0].lr", "true", "a number")),
    "lr that is text": ([lr("fast")], wrong(10, "grid[0].lr", "'fast'", "a number")),
    "lr that is a date": ([lr("2024-01-01")], wrong(10, "grid[0].lr", "2024-01-01", "a number")),
    "lr that is a list in the list": ([lr("[[0.1]]")], wrong(10, "grid[0].lr[0]", "[0.1]", "a number")),
    "lr missing": (
        [("    lr: [0.1, 0.2]\n", "")],
        wrong(9, "grid[0].lr", "nothing", "a number above 0: gd has a learning rate"),
    ),
    "batch larger than the data": (
        [in_block("    batch_size: [10, 101]\n")],
        wrong(12, "grid[0].batch_size[1]", "101", "at most 100, the size of the training set"),
    ),
    "batch of none": (
        [in_block("    batch_size: 0\n")],
        wrong(12, "grid[0].batch_size", "0", "a whole number of at least 1, or full"),
    ),
    "batch in capitals": (
        [in_block("    batch_size: FULL\n")],
        wrong(12, "grid[0].batch_size", "'FULL'", "a whole number of at least 1, or full"),
    ),
    "negative seed": ([("[0, 1]", "[0, -1]")], wrong(11, "grid[0].seed[1]", "-1", "a number of at least 0")),
    "seed that is true": ([("[0, 1]", "true")], wrong(11, "grid[0].seed", "true", "a whole number")),
    "half a seed": ([("[0, 1]", "0.5")], wrong(11, "grid[0].seed", "0.5", "a whole number")),
    "unknown dtype": (
        [in_block("    dtype: float16\n")],
        wrong(12, "grid[0].dtype", "'float16'", "'float32' or 'float64'"),
    ),
    "negative branch noise": (
        [in_block("    branch_noise: -1\n")],
        wrong(12, "grid[0].branch_noise", "-1", "a number of at least 0"),
    ),
    "unknown activation": (
        [("hidden: [8]", "hidden: [8], activation: swish")],
        wrong(5, "defaults.model.activation", "'swish'", "'tanh', 'relu', 'elu', 'gelu' or 'softplus'"),
    ),
    "no hidden layers": (
        [("hidden: [8]", "hidden: []")],
        wrong(5, "defaults.model.hidden", "[]", "a list of 1 or more"),
    ),
    "more images than there are": (
        [("train_size: 100", "train_size: 1790")],
        wrong(4, "defaults.dataset", "{train_size: 1790, test_size: 20}", "train_size + test_size of at most 1797"),
    ),
    "budget that is a number": ([("{steps: 40}", "40")], wrong(7, "defaults.budget", "40", MAPPING)),
    "two budgets": (
        [("steps: 40", "steps: 40, epochs: 2")],
        wrong(7, "defaults.budget", "{steps: 40, epochs: 2}", "exactly one of `steps`, `epochs`, `samples`"),
    ),
    "no budget": (
        [("{steps: 40}", "{}")],
        wrong(7, "defaults.budget", "{}", "exactly one of `steps`, `epochs`, `samples`"),
    ),
    "no steps": ([("steps: 40", "steps: 0")], wrong(7, "defaults.budget.steps", "0", "a number of at least 1")),
    "samples for less than one batch": (
        [("steps: 40", "samples: 99")],
        wrong(7, "defaults.budget", "99", "at least one batch of 100 samples"),
    ),
    "two rules to stop": (
        [in_block("    stop: {train_loss: 1, train_accuracy: 0.5}\n")],
        wrong(
            12, "grid[0].stop", "{train_loss: 1, train_accuracy: 0.5}", "exactly one of `train_loss`, `train_accuracy`"
        ),
    ),
    "accuracy above one": (
        [in_block("    stop: {train_accuracy: 1.5}\n")],
        wrong(12, "grid[0].stop.train_accuracy", "1.5", "a number of at most 1"),
    ),
    # contradictions
    "cross-entropy on regression data": (
        [(DATASET, "quadratic"), ("loss: mse", "loss: cross_entropy")],
        wrong(6, "defaults.loss", "'cross_entropy'", "a loss for regression: quadratic has no classes"),
    ),
    "accuracy of regression": (
        [(DATASET, "quadratic"), in_block("    stop: {train_accuracy: 0.9}\n")],
        wrong(12, "grid[0].stop", "'train_accuracy'", "train_loss: quadratic has no classes"),
    ),
    "measured after the last step": (
        [("{every: 1}", "{at: [0, 40, 41]}")],
        wrong(13, "observe.losses.at", "41", "steps up to 40, the last of the run"),
    ),
    "measured after the last step, in a block": (
        [in_block("    observe: {losses: {at: [99]}}\n")],
        wrong(12, "grid[0].observe.losses.at", "99", "steps up to 40, the last of the run"),
    ),
    "measured at a negative step": (
        [("{every: 1}", "{at: [-1]}")],
        wrong(13, "observe.losses.at[0]", "-1", "a number of at least 0"),
    ),
    "measured every zero steps": (
        [("{every: 1}", "{every: 0}")],
        wrong(13, "observe.losses.every", "0", "a number of at least 1"),
    ),
    "more eigenvalues than parameters": (
        [("k: 2", "k: 611")],
        wrong(14, "observe.hessian_top.k", "611", "at most 610, the number of parameters"),
    ),
    "residual below what float32 reaches": (
        [("k: 2", "tol: 1e-6")],
        wrong(14, "observe.hessian_top.tol", "1e-06", "at least 1e-05, what float32 can reach"),
    ),
    "residual that is not a number": (
        [("k: 2", "tol: .nan")],
        wrong(14, "observe.hessian_top.tol", ".nan", "a number above 0"),
    ),
    "runs that record nothing": (
        [("observe:\n  losses: {every: 1}\n  hessian_top: {every: 20, k: 2}\n", "")],
        wrong(
            9,
            "grid[0]",
            "runs that record nothing",
            "at least one observable, such as losses: {every: 1}",
            "add it to `observe`",
        ),
    ),
    # the same run twice
    "one value twice": (
        [lr("[0.1, 1e-1]")],
        wrong(9, "grid[0]", f"2 runs (the first: {RUN}) that are in this block already", "each run once"),
    ),
    "a batch of all and a full one": (
        [("[0, 1]", "0"), lr("0.1"), ("    lr:", "    batch_size: [100, full]\n    lr:")],
        wrong(9, "grid[0]", f"a run ({RUN}) that is in this block already", "each run once"),
    ),
    "one run in two blocks": (
        [("observe:\n", "  - {optimizer: gd, lr: 0.2, seed: [1, 2]}\nobserve:\n")],
        wrong(
            12,
            "grid[1]",
            "a run (gd lr=0.2 batch_size=full seed=1 mlp mse digits) that is in grid[0] already",
            "each run once",
        ),
    ),
    # claims and figures
    "two claims of one id": (
        [("figures:", f"  - {{id: edge, {CLAIM}}}\nfigures:")],
        wrong(17, "claims[1].id", "'edge'", "an id that no other claim has"),
    ),
    "one figure twice": (
        [("  - loss_curves\n", "  - loss_curves\n  - loss_curves\n")],
        wrong(19, "figures[1].id", "'loss_curves'", "an id that no other figure has", "give it an `id`"),
    ),
    "id in capitals": ([("id: edge", "id: Edge")], wrong(16, "claims[0].id", "'Edge'", IDS)),
    "id that leaves its folder": ([("id: edge", "id: ../edge")], wrong(16, "claims[0].id", "'../edge'", IDS)),
    "id that is a number": ([("id: edge", "id: 3")], wrong(16, "claims[0].id", "3", IDS)),
    "claim on what is not recorded": (
        [("  hessian_top: {every: 20, k: 2}\n", "")],
        wrong(
            15,
            "claims[0]",
            f"a run ({RUN}) that records losses",
            "runs that record hessian_top or preconditioned_top",
            "observe hessian_top or preconditioned_top there, or narrow `where`",
        ),
    ),
    "claim on another optimizer's sharpness": (
        [("optimizer: gd", "optimizer: adam")],
        wrong(
            16,
            "claims[0]",
            f"a run ({RUN.replace('gd', 'adam')}) that records hessian_top, losses",
            "runs that record preconditioned_top",
            "observe preconditioned_top there, or narrow `where`",
        ),
    ),
    "figure of what is not recorded": (
        [("  losses: {every: 1}\n", "")],
        wrong(
            17,
            "figures[0]",
            f"a run ({RUN}) that records hessian_top",
            "runs that record losses",
            "observe losses there, or narrow `where`",
        ),
    ),
    "where that matches nothing": (
        [claimed("where: {lr: 0.3}")],
        wrong(16, "claims[0].where.lr", "0.3, which no run has", "what runs have: 0.1, 0.2"),
    ),
    "where with an unknown member": (
        [claimed("where: {optimizer: gdd}")],
        wrong(16, "claims[0].where.optimizer", "'gdd', which no run has", "what runs have: gd", "did you mean 'gd'?"),
    ),
    "where with a field no run has": (
        [claimed("where: {optimizer.beta1: 0.9}")],
        wrong(16, "claims[0].where.optimizer.beta1", "0.9, which no run has", "what runs have: no beta1"),
    ),
    "where with an unknown key": (
        [claimed("where: {optimiser: gd}")],
        wrong(16, "claims[0].where.optimiser", "unknown key 'optimiser'", RUN_KEYS, "did you mean 'optimizer'?"),
    ),
    "where with a wrong value": ([claimed("where: {lr: fast}")], wrong(16, "claims[0].where.lr", "'fast'", "a number")),
    "where that is a list": ([claimed("where: [gd]")], wrong(16, "claims[0].where", "['gd']", MAPPING)),
    "where that is false": ([claimed("where: false")], wrong(16, "claims[0].where", "false", MAPPING)),
}


@pytest.mark.parametrize("case", ONE_MISTAKE)
def test_a_mistake_is_told_with_where_what_was_given_what_is_allowed_and_what_to_do(tmp_path: Path, case: str) -> None:
    edits, expected = ONE_MISTAKE[case]
    assert told(tmp_path, edited(*edits)) == [expected]


def test_the_study_that_these_cases_break_is_valid(tmp_path: Path) -> None:
    study = load(tmp_path, VALID)
    assert (study.name, study.title, study.sources) == ("probe", "A small study", ("arXiv:2103.00065",))
    assert [(run.lr, run.seed) for run in study.runs] == [(0.1, 0), (0.1, 1), (0.2, 0), (0.2, 1)]
    assert [entry.id for entry in (*study.claims, *study.figures)] == ["edge", "loss_curves"]


def test_all_mistakes_are_told_in_one_message(tmp_path: Path) -> None:
    text = edited(
        ("title: A small study", "titel: A small study"),
        ("[arXiv:2103.00065]", "[2103.00065]"),
        ("train_size: 100", "train_size: -1"),
        ("hidden: [8]", "hidden: [8, x]"),
        ("loss: mse", "loss: mze"),
        ("steps: 40", "stepz: 40"),
        lr("[0.1, fast]"),
        in_block("    points: points.csv\n    zip: {dtype: [float32, x], branch_noise: [0]}\n"),
        ("{every: 20, k: 2}", "{every: 20, k: 0}"),
        ("id: edge", "id: Edge"),
        claimed("high: -1, where: {lr: fast}"),
        ("- loss_curves", "- loss_curvs"),
    )
    mistakes = told(tmp_path, text, {"points.csv": "seed\nx\n1,2\n"})
    assert [(mistake.line, mistake.where) for mistake in mistakes] == [
        (None, "title"),
        (1, "titel"),
        (2, "sources[0]"),
        (4, "defaults.dataset.train_size"),
        (5, "defaults.model.hidden[1]"),
        (6, "defaults.loss"),
        (7, "defaults.budget.stepz"),
        (10, "grid[0].lr[1]"),
        (12, "grid[0].points: points.csv line 2, column 'seed'"),
        (12, "grid[0].points: points.csv line 3"),
        (13, "grid[0].zip.dtype[1]"),
        (16, "observe.hessian_top.k"),
        (18, "claims[0].high"),
        (18, "claims[0].where.lr"),
        (18, "claims[0].id"),
        (20, "figures[0].name"),
    ]


def test_the_message_reads_well(tmp_path: Path) -> None:
    path = write(tmp_path, edited(lr("[0.1, -0.2]"), ("- loss_curves", "- loss_curve")))
    with pytest.raises(FileError) as caught:
        load_study(path)
    assert str(caught.value) == (
        f"{path}: 2 mistakes\n"
        "  line 10, grid[0].lr[1]\n"
        "    given    -0.2\n"
        "    allowed  a number above 0\n"
        "  line 18, figures[0].name\n"
        "    given    unknown figure 'loss_curve'\n"
        f"    allowed  {listed(names('figure'))}\n"
        "    do       did you mean 'loss_curves'?"
    )


@pytest.mark.parametrize("key", ["grid", "defaults", "observe"])
def test_what_only_follows_from_a_mistake_is_not_told(tmp_path: Path, key: str) -> None:
    text = edited((f"\n{key}:\n", f"\n{key}: 3\nnotes:\n"))
    assert [mistake.where for mistake in told(tmp_path, text)] == [key, "notes"]


@pytest.mark.parametrize(
    "name", ["Probe.yaml", "my-study.yaml", "my study.yaml", "probe.v2.yaml", "_probe.yaml", "é.yaml"]
)
def test_a_study_is_named_by_its_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(VALID)
    with pytest.raises(FileError) as caught:
        load_study(path)
    allowed = "small letters, digits and _: it becomes a folder"
    assert caught.value.mistakes == (Mistake("", f"the file name {name!r}", allowed, "rename it"),)


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n...\n", "~\n", "a word\n", "- a\n- b\n", "3\n"])
def test_a_file_that_holds_no_study_is_told(tmp_path: Path, text: str) -> None:
    assert len(told(tmp_path, text)) == 1


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_studies_load(path: Path) -> None:
    study = load_study(path)
    assert study.runs
    for_a_page = study.name.endswith("_looks")
    assert bool(study.claims) == bool(study.figures) == (not for_a_page)
    assert study.question
    assert study.sources


def test_empty_keys_are_as_if_left_out(tmp_path: Path) -> None:
    text = edited(claimed("where:"), in_block("    observe:\n    exclude:\n"))
    assert [run.id for run in load(tmp_path, text + "question:\n").runs] == [
        run.id for run in load(tmp_path, VALID).runs
    ]


def test_a_figure_may_stand_twice_under_two_ids(tmp_path: Path) -> None:
    text = f"{VALID}  - {{id: low, name: loss_curves, where: {{lr: 0.1}}, window: 5}}\n"
    study = load(tmp_path, text)
    assert [(entry.id, len(study.pick(entry))) for entry in study.figures] == [("loss_curves", 4), ("low", 2)]


def test_a_claim_or_figure_is_about_the_runs_it_names_only(tmp_path: Path) -> None:
    text = edited(
        ("observe:\n", "  - {optimizer: adam, lr: 1e-3}\nobserve:\n"),
        claimed("where: {optimizer: gd}"),
    )
    study = load(tmp_path, text)
    assert [run.optimizer.name for run in study.pick(study.claims[0])] == ["gd"] * 4
    assert len(study.pick(study.figures[0])) == 5


DESIGN = """\
title: Step size, batch size and curvature on handwritten digits
question: Where does sharpness settle, and how far may the learning rate grow with the batch?
sources: [arXiv:2103.00065, arXiv:2006.09092]
defaults:
  dataset: {name: digits, train_size: 500}
  loss: mse
  budget: {steps: 400}
grid:
  - model: [{name: mlp, hidden: [32, 32]}, {name: mlp, hidden: [32, 32, 32]}]
    optimizer: {name: gd}
    lr: [0.2, 0.4, 0.57, 0.8]
    batch_size: [32, 128, full]
    seed: [0, 1, 2]
  - model: {name: mlp, hidden: [32, 32]}
    optimizer: {name: adam}
    optimizer.beta1: [0.5, 0.9]
    lr: [1e-3, 3e-3]
    batch_size: full
    seed: [0, 1]
    observe: {gradient_norm: {at: [0, 400]}}
  - points: extra_points.csv
observe:
  losses: {every: 1}
  hessian_top: {every: 20, k: 2, tol: 1e-2}
  preconditioned_top: {every: 20, k: 1, tol: 1e-2}
  parameters: {at: [400]}
claims:
  - {id: gd_at_the_edge, name: hovers_at_threshold, where: {optimizer: gd, batch_size: full}}
  - {id: adam_at_the_edge, name: hovers_at_threshold, where: {optimizer: adam, batch_size: full}}
figures:
  - {id: sharpness, name: sharpness_over_threshold}
"""
POINTS = """\
model,optimizer,optimizer.beta1,lr,batch_size,seed
linear,gd,,0.1,full,7
"{name: mlp, hidden: [16]}",adam,0.3,2e-3,,8
"""


def test_the_forms_that_the_design_shows_are_read(tmp_path: Path) -> None:
    study = load(tmp_path, DESIGN, {"extra_points.csv": POINTS})
    first, second, points = study.runs[:72], study.runs[72:80], study.runs[80:]
    assert {(run.model.name, run.optimizer.name, run.budget.steps) for run in first} == {("mlp", "gd", 400)}
    assert sorted({run.lr for run in first}) == [0.2, 0.4, 0.57, 0.8]
    assert {run.batch for run in first} == {32, 128, 500}
    assert {run.optimizer.beta1 for run in second} == {0.5, 0.9}  # type: ignore[attr-defined]
    assert [run.lr for run in second[:8:2]] == [1e-3, 3e-3, 1e-3, 3e-3]
    assert [[entry.name for entry in run.observe] for run in (first[0], second[0])] == [
        ["hessian_top", "losses", "parameters", "preconditioned_top"],
        ["gradient_norm", "hessian_top", "losses", "parameters", "preconditioned_top"],
    ]
    assert [(run.model.name, run.lr, run.batch_size, run.seed) for run in points] == [
        ("linear", 0.1, "full", 7),
        ("mlp", 2e-3, "full", 8),
    ]
    assert [len(study.pick(entry)) for entry in study.claims] == [25, 9]
    assert [entry.id for entry in study.figures] == ["sharpness"]
    assert {label for (role, _), label in study.labels.items() if role == "model"} == {
        "mlp hidden=32-32",
        "mlp hidden=32-32-32",
        "mlp hidden=16",
        "linear",
    }
