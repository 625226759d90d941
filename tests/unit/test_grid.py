"""Grids: which runs the blocks of a study make, and what is told of axes, ranges, points and exclusions."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepscape.errors import Mistake
from stepscape.registry import make
from stepscape.study.run import Budget
from tests.planning import VALID, edited, in_block, load, runs_of, told

LR = "    lr: [0.1, 0.2]\n"
SEED = "    seed: [0, 1]\n"
RANGES = "{geometric: [first, last], factor: above 1} or {linear: [first, last], step: above 0}; first at most last"


def lrs(folder: Path, value: str) -> list[float | None]:
    return [run.lr for run in runs_of(folder, ("[0.1, 0.2]", value), ("[0, 1]", "0"))]


# -- axes --------------------------------------------------------------------------------------------------------------


def test_a_block_is_the_product_of_its_lists_in_their_order(tmp_path: Path) -> None:
    runs = runs_of(tmp_path, in_block("    batch_size: [10, full]\n"), ("optimizer: gd", "optimizer: [gd, adam]"))
    assert [(run.optimizer.name, run.lr, run.seed, run.batch_size) for run in runs] == [
        (optimizer, lr, seed, batch)
        for optimizer in ("gd", "adam")
        for lr in (0.1, 0.2)
        for seed in (0, 1)
        for batch in (10, "full")
    ]


def test_blocks_follow_one_another(tmp_path: Path) -> None:
    runs = runs_of(tmp_path, ("observe:\n", "  - {optimizer: adam, lr: 0.3}\nobserve:\n"))
    assert [run.lr for run in runs] == [0.1, 0.1, 0.2, 0.2, 0.3]


def test_a_block_overrides_defaults(tmp_path: Path) -> None:
    runs = runs_of(
        tmp_path,
        ("  loss: mse\n", "  loss: mse\n  lr: [7, 8, 9]\n  dtype: float64\n"),
        in_block("    budget: {epochs: 2}\n    model: [linear, {name: mlp, hidden: [4]}]\n"),
    )
    assert {run.lr for run in runs} == {0.1, 0.2}
    assert {run.budget for run in runs} == {Budget(epochs=2)}
    assert {run.model.name for run in runs} == {"linear", "mlp"}
    assert {run.dtype for run in runs} == {"float64"}


def test_defaults_may_be_axes(tmp_path: Path) -> None:
    assert len(runs_of(tmp_path, ("  loss: mse\n", "  loss: mse\n  branch_noise: [0, 1e-4, 1e-3]\n"))) == 12


def test_a_default_that_every_block_overrides_may_suit_none(tmp_path: Path) -> None:
    assert len(runs_of(tmp_path, ("  loss: mse\n", "  loss: mse\n  lr: soon\n"))) == 4


def test_a_list_inside_braces_is_a_value(tmp_path: Path) -> None:
    runs = runs_of(tmp_path, ("{name: mlp, hidden: [8]}", "[{name: mlp, hidden: [4, 4]}, {name: mlp, hidden: [16]}]"))
    assert [run.model for run in runs[:2]] == [  # a default moves fastest
        make("model", {"name": "mlp", "hidden": [4, 4]}, ""),
        make("model", {"name": "mlp", "hidden": [16]}, ""),
    ]


def test_a_dotted_key_makes_a_field_an_axis(tmp_path: Path) -> None:
    runs = runs_of(tmp_path, ("optimizer: gd", "optimizer: {name: adam, beta2: 0.9}\n    optimizer.beta1: [5e-1, 0.9]"))
    assert [run.optimizer for run in runs[::4]] == [
        make("optimizer", {"name": "adam", "beta1": beta1, "beta2": 0.9}, "") for beta1 in (0.5, 0.9)
    ]


@pytest.mark.parametrize(
    ("line", "key", "values"),
    [
        ("model.hidden: [[4], [8, 8]]", "model.hidden", [(4,), (8, 8)]),
        ("budget.steps: [40, 1e2]", "budget.steps", [40, 100]),
        ("dataset.train_size: {geometric: [10, 40], factor: 2}", "dataset.train_size", [10, 20, 40]),
        ("model.activation: tanh", "model.activation", ["tanh"]),
    ],
)
def test_any_field_may_be_dotted(tmp_path: Path, line: str, key: str, values: list[object]) -> None:
    part, _, field = key.partition(".")
    runs = runs_of(tmp_path, in_block(f"    {line}\n"))
    assert list(dict.fromkeys(getattr(getattr(run, part), field) for run in runs)) == values


def test_dotted_keys_of_one_member_are_applied_together(tmp_path: Path) -> None:
    # one after another, train_size 1700 would meet the 100 test images of the default, which do not exist
    lines = "    dataset: {name: digits, test_size: 100}\n    dataset.train_size: [1700]\n    dataset.test_size: [50]\n"
    (dataset,) = {run.dataset for run in runs_of(tmp_path, in_block(lines))}
    assert (dataset.train_size, dataset.test_size) == (1700, 50)


def test_a_dotted_default_applies_to_what_a_block_names(tmp_path: Path) -> None:
    runs = runs_of(
        tmp_path,
        ("  loss: mse\n", "  loss: mse\n  optimizer.beta2: 0.9\n"),
        ("optimizer: gd", "optimizer: [adam, rmsprop]"),
    )
    assert {(run.optimizer.name, run.optimizer.beta2) for run in runs} == {("adam", 0.9), ("rmsprop", 0.9)}  # type: ignore[attr-defined]


def test_no_rule_to_stop_is_a_value_too(tmp_path: Path) -> None:
    runs = runs_of(tmp_path, in_block("    stop: [null, {train_accuracy: 1}, {train_loss: 1e-2, every: 5}]\n"))
    assert [run.stop and (run.stop.train_accuracy, run.stop.train_loss, run.stop.every) for run in runs[:3]] == [
        None,
        (1.0, None, 1),
        (None, 0.01, 5),
    ]


def test_a_grid_of_more_runs_than_anyone_trains_is_refused_at_once(tmp_path: Path) -> None:
    text = edited(("[0, 1]", "{linear: [0, 2000], step: 1}"), ("[0.1, 0.2]", "{linear: [1, 1000], step: 1}"))
    assert told(tmp_path, text) == [Mistake("grid[0]", "2001000 runs", "at most 1000000 in one block", line=9)]


# -- ranges ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "values"),
    [
        ("{geometric: [0.0625, 64], factor: 2}", [2.0**n for n in range(-4, 7)]),
        ("{geometric: [1e-3, 1], factor: 10}", [0.001, 0.01, 0.1, 1.0]),
        ("{geometric: [1, 5], factor: 2}", [1.0, 2.0, 4.0]),
        ("{geometric: [3, 3], factor: 2}", [3.0]),
        ("{geometric: ['1e-1', '1e0'], factor: '1e1'}", [0.1, 1.0]),
        ("{linear: [0.1, 1], step: 0.1}", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]),
        ("{linear: [1, 2], step: 0.4}", [1.0, 1.4, 1.8]),
        ("{linear: [2, 2], step: 1}", [2.0]),
        ("{linear: [1e308, 1.5e308], step: 2.5e307}", [1e308, 1.25e308, 1.5e308]),
    ],
)
def test_a_range_has_the_values_one_would_write(tmp_path: Path, given: str, values: list[float]) -> None:
    assert lrs(tmp_path, given) == values


def test_a_range_of_seeds_is_whole_numbers(tmp_path: Path) -> None:
    assert [run.seed for run in runs_of(tmp_path, ("[0, 1]", "{linear: [0, 3], step: 1}"), ("[0.1, 0.2]", "0.1"))] == [
        0,
        1,
        2,
        3,
    ]


@pytest.mark.parametrize(
    "given",
    [
        "{geometric: [1, 4]}",
        "{geometric: [1], factor: 2}",
        "{geometric: [1, 2, 4], factor: 2}",
        "{geometric: [1, 4], factor: 1}",
        "{geometric: [4, 1], factor: 2}",
        "{geometric: [0, 1], factor: 2}",
        "{geometric: [-4, -1], factor: 2}",
        "{geometric: [1, 4], step: 2}",
        "{geometric: [1, 4], factor: 2, step: 1}",
        "{geometric: [1, .inf], factor: 2}",
        "{linear: [0.1, 1], step: 0}",
        "{linear: [1, 0.1], step: -0.1}",
        "{linear: [.nan, 1], step: 1}",
        "{linear: [1, 2], step: .nan}",
        "{linear: [1, 2], step: null}",
        "{linear: [a, b], step: 1}",
        "{linear: [true, 3], step: 1}",
        "{linear: 5, step: 1}",
        "{linear: '12', step: 1}",
        "{linear: {1: 2}, step: 1}".replace("1: 2", "a: 2"),
    ],
)
def test_a_range_that_makes_no_sense_is_told(tmp_path: Path, given: str) -> None:
    (mistake,) = told(tmp_path, edited(("[0.1, 0.2]", given)))
    assert (mistake.where, mistake.line, mistake.allowed) == ("grid[0].lr", 10, RANGES)


@pytest.mark.parametrize(
    ("given", "number"),
    [
        ("{linear: [0, 1], step: 1e-9}", "1000000000 values"),
        ("{linear: [-1e308, 1e308], step: 1e-3}", "inf values"),
        ("{geometric: [1, 1e300], factor: 1.000001}", "690775873 values"),
    ],
)
def test_a_range_of_too_many_values_is_told_before_it_is_made(tmp_path: Path, given: str, number: str) -> None:
    (mistake,) = told(tmp_path, edited(("[0.1, 0.2]", given)))
    assert number in mistake.given
    assert mistake.allowed == "at most 1000000 values"


# -- axes that move together -------------------------------------------------------------------------------------------


def test_zipped_axes_move_together(tmp_path: Path) -> None:
    runs = runs_of(
        tmp_path, (LR, "    zip: {lr: [0.1, 0.1, 0.3], batch_size: [10, 20, full], model.hidden: [[4], [4], [6]]}\n")
    )
    assert [(run.lr, run.batch_size, run.model.hidden, run.seed) for run in runs] == [  # type: ignore[attr-defined]
        (lr, batch, hidden, seed)
        for lr, batch, hidden in ((0.1, 10, (4,)), (0.1, 20, (4,)), (0.3, "full", (6,)))
        for seed in (0, 1)
    ]


@pytest.mark.parametrize(
    ("zipped", "where", "given", "allowed"),
    [
        ("{lr: [1, 2], batch_size: [10]}", "zip", "2 values of lr, 1 value of batch_size", "lists of one length"),
        ("{lr: [], batch_size: [10]}", "zip.lr", "an empty list", "at least one value"),
        ("{}", "zip", "{}", "a mapping of keys to lists of one length"),
        ("[lr]", "zip", "['lr']", "a mapping of keys to lists of one length"),
        ("{lr: [1, x]}", "zip.lr[1]", "'x'", "a number"),
        ("{lr: [1], lrs: [1]}", "zip.lrs", "unknown key 'lrs'", None),
        ("{lr: [1], points: [1]}", "zip.points", "unknown key 'points'", None),
    ],
)
def test_zipped_axes_that_do_not_fit_are_told(
    tmp_path: Path, zipped: str, where: str, given: str, allowed: str | None
) -> None:
    (mistake,) = told(tmp_path, edited((LR, f"    zip: {zipped}\n")))
    assert (mistake.where, mistake.line, mistake.given) == (f"grid[0].{where}", 10, given)
    assert allowed in (mistake.allowed, None)


# -- points ------------------------------------------------------------------------------------------------------------


def points(folder: Path, content: str | bytes, *edits: tuple[str, str]) -> list[tuple[float | None, int]]:
    runs = runs_of(folder, (LR, "    points: points.csv\n"), (SEED, ""), *edits, files={"points.csv": content})
    return [(run.lr, run.seed) for run in runs]


@pytest.mark.parametrize(
    "content",
    [
        "lr,seed\n0.1,0\n0.2,5\n",
        "lr,seed\n0.1,0\n0.2,5",
        "lr,seed\r\n0.1,0\r\n0.2,5\r\n",
        "\ufefflr,seed\n0.1,0\n0.2,5\n",
        " lr , seed \n 1e-1 , 0\n 0.20 , 5.0 \n",
        '"lr","seed"\n"0.1","0"\n"0.2","5"\n',
        "\nlr,seed\n\n0.1,0\n\n\n0.2,5\n\n",
        "seed,lr\n0,0.1\n5,0.2\n",
    ],
    ids=["plain", "no last line end", "windows", "byte order mark", "spaces", "quotes", "empty lines", "order"],
)
def test_points_are_rows_of_a_csv_file(tmp_path: Path, content: str) -> None:
    assert points(tmp_path, content) == [(0.1, 0), (0.2, 5)]


def test_points_make_a_product_with_axes(tmp_path: Path) -> None:
    extra = ("observe:\n", "    seed: [0, 1]\nobserve:\n")
    assert points(tmp_path, "lr\n0.1\n0.2\n", extra) == [(0.1, 0), (0.1, 1), (0.2, 0), (0.2, 1)]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("lr,seed\n,3\n0.1,7\n", [(0.5, 3), (0.1, 7)]),
        ("lr,seed\n0.1,7\n,3\n", [(0.1, 7), (0.5, 3)]),
        ("lr,seed\n,7\n,3\n", [(0.5, 7), (0.5, 3)]),
        ("lr,seed\n0.1,\n0.2,3\n", [(0.1, 8), (0.1, 9), (0.2, 3)]),
        ("lr,seed\n,\n", [(0.5, 8), (0.5, 9)]),
    ],
    ids=["first row", "second row", "column", "default is an axis", "all"],
)
def test_an_empty_entry_is_the_default(tmp_path: Path, content: str, expected: list[tuple[float, int]]) -> None:
    assert points(tmp_path, content, ("  loss: mse\n", "  loss: mse\n  lr: 0.5\n  seed: [8, 9]\n")) == expected


def test_columns_may_be_dotted_members_and_lists(tmp_path: Path) -> None:
    content = (
        "optimizer,lr,optimizer.beta1,model.hidden,model\n"
        'adam,0.1,0.5,"[4, 4]",\n'
        "gd,0.2,,,linear\n"
        '"{name: adam, beta1: 0.3}",0.3,,"[6]","{name: mlp, hidden: [3]}"\n'
    )
    runs = runs_of(
        tmp_path,
        ("  - optimizer: gd\n", "  - points: points.csv\n"),
        (LR, ""),
        (SEED, ""),
        files={"points.csv": content},
    )
    assert [(run.optimizer, run.model) for run in runs] == [
        (
            make("optimizer", {"name": "adam", "beta1": 0.5}, ""),
            make("model", {"name": "mlp", "hidden": [4, 4]}, ""),
        ),
        (make("optimizer", "gd", ""), make("model", "linear", "")),
        (make("optimizer", {"name": "adam", "beta1": 0.3}, ""), make("model", {"name": "mlp", "hidden": [6]}, "")),
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", [("", "no points")]),
        ("lr,seed\n", [("", "no points")]),
        ("\n\n", [("", "no points")]),
        ("lr,seed\n0.1\n0.2,1,2\n", [(" line 2", "1 value"), (" line 3", "3 values")]),
        ("lr,sede\n0.1,0\n", [(" line 1, column 'sede'", "unknown key 'sede'")]),
        ("lr;seed\n0.1;0\n", [(" line 1, column 'lr;seed'", "unknown key 'lr;seed'")]),
        ("lr,\n0.1,0\n", [(" line 1, column ''", "unknown key ''")]),
        ("lr,label\n0.1,a\n", [(" line 1, column 'label'", "unknown key 'label'")]),
        ("lr,observe\n0.1,a\n", [(" line 1, column 'observe'", "unknown key 'observe'")]),
        ("lr,lr,seed\n0.1,0.2,3\n", [(" line 1, column 'lr'", "2 columns of this name")]),
        (
            "lr,seed\nfast,0\n0.1,x\n-1,0\n",
            [
                (" line 2, column 'lr'", "'fast'"),
                (" line 3, column 'seed'", "'x'"),
                (" line 4, column 'lr'", "-1"),
            ],
        ),
        ("lr,batch_size\n0.1,10\n0.1,200\n", [(" line 3, column 'batch_size'", "200")]),
        (
            "lr,model.hiden\n0.1,[8]\n0.2,[4]\n",
            [(" line 1, column 'model.hiden'", "unknown field 'hiden' of model mlp")],
        ),
        ("lr,model.hidden\n0.1,8\n", [(" line 2, column 'model.hidden'", "8")]),
        ('lr,model.hidden\n0.1,"[8, x]"\n', [(" line 2, column 'model.hidden'[1]", "'x'")]),
        ("lr,model\n0.1,mpl\n", [(" line 2, column 'model'", "unknown model 'mpl'")]),
        ('lr\n"0.1\n', [(" line 2", "unexpected end of data")]),
        ('lr\n"0.1"2\n', [(" line 2", "',' expected after '\"'")]),
        ('lr\n"[1"\n', [(" line 2, column 'lr'", None)]),
        ("lr\n*a\n", [(" line 2, column 'lr'", "'*a': found undefined alias 'a'")]),
        ("lr\n&a [*a]\n", [(" line 2, column 'lr'", "'&a [*a]': an alias of what it is part of")]),
        ("lr\n2024-13-01\n", [(" line 2, column 'lr'", None)]),
        ("lr\n{a: 1}\n", [(" line 2, column 'lr'", "{a: 1}")]),
        ("lr\n#1\n", [(" line 2, column 'lr'", "'#1': nothing: it is empty")]),
        ("lr\n!!python/object:os.system x\n", [(" line 2, column 'lr'", None)]),
        ("lr\n0.1\x00\n", [(" line 2, column 'lr'", None)]),
        (f"lr\n{'[' * 5000}\n", [(" line 2, column 'lr'", None)]),
        (f"lr\n{'9' * 200_000}\n", [(" line 2", "field larger than field limit (131072)")]),
        (b"lr,seed\n0.1,0\n0.\xe9,0\n", [(" line 3", "the byte 0xe9, which is not UTF-8")]),
        ("lr\n0.1\n".encode("utf-16"), [(" line 1", "the byte 0xff, which is not UTF-8")]),
    ],
)
def test_a_broken_csv_file_is_told_with_line_and_column(
    tmp_path: Path, content: str | bytes, expected: list[tuple[str, str | None]]
) -> None:
    mistakes = told(tmp_path, edited((LR, "    points: points.csv\n"), (SEED, "")), {"points.csv": content})
    assert [mistake.where for mistake in mistakes] == [f"grid[0].points: points.csv{place}" for place, _ in expected]
    assert all(mistake.line == 10 for mistake in mistakes)
    for mistake, (_, given) in zip(mistakes, expected, strict=True):
        assert given in (mistake.given, None)
        assert mistake.allowed
        assert all(len(line) < 250 for line in str(mistake).splitlines())


@pytest.mark.parametrize(
    ("name", "where", "given"),
    [
        ("missing.csv", ": missing.csv", "no such file or directory"),
        (".", ": .", "is a directory"),
        ('"a\\0b"', ": a\0b", "embedded null byte"),
        ("3", "", "3"),
        ("[points.csv]", "", "['points.csv']"),
        ("", "", "nothing"),
    ],
)
def test_a_csv_file_that_is_not_there_is_told(tmp_path: Path, name: str, where: str, given: str) -> None:
    (mistake,) = told(tmp_path, edited((LR, f"    points: {name}\n")))
    assert (mistake.where, mistake.line, mistake.given) == (f"grid[0].points{where}", 10, given)


@pytest.mark.parametrize(
    ("lines", "key"),
    [("    lr: 0.3\n", "lr"), ("    zip: {lr: [1], branch_noise: [0]}\n", "lr")],
    ids=["axis", "zip"],
)
def test_a_key_is_a_column_or_an_axis_but_not_both(tmp_path: Path, lines: str, key: str) -> None:
    text = edited((LR, f"    points: points.csv\n{lines}"))
    (mistake,) = told(tmp_path, text, {"points.csv": "lr\n0.1\n"})
    assert (mistake.where, mistake.given) == (f"grid[0].{key}", "a key that stands elsewhere in this block too")


# -- exclusions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "left"),
    [
        ("[{lr: 0.1}]", [(0.2, 0), (0.2, 1)]),
        ("[{lr: 1e-1, seed: 0}]", [(0.1, 1), (0.2, 0), (0.2, 1)]),
        ("[{lr: [0.1, 0.2], seed: 0}]", [(0.1, 1), (0.2, 1)]),
        ("[{lr: 0.1}, {seed: 1}]", [(0.2, 0)]),
        ("[]", [(0.1, 0), (0.1, 1), (0.2, 0), (0.2, 1)]),
    ],
)
def test_runs_that_match_all_keys_of_a_rule_are_left_out(
    tmp_path: Path, rules: str, left: list[tuple[float, int]]
) -> None:
    assert [(run.lr, run.seed) for run in runs_of(tmp_path, in_block(f"    exclude: {rules}\n"))] == left


def test_a_rule_concerns_its_block_only(tmp_path: Path) -> None:
    text = edited(("observe:\n", "  - {optimizer: adam, lr: 0.1}\nobserve:\n"), in_block("    exclude: [{lr: 0.1}]\n"))
    runs = load(tmp_path, text.partition("claims:")[0]).runs
    assert [(run.optimizer.name, run.lr) for run in runs] == [("gd", 0.2), ("gd", 0.2), ("adam", 0.1)]


@pytest.mark.parametrize(
    ("rules", "where", "given"),
    [
        ("[{lr: 0.3}]", "exclude[0].lr", "0.3, which no run has"),
        ("[{lr: 0.1}, {lr: 0.2, seed: 7}]", "exclude[1].seed", "7, which no run has"),
        ("[{optimizer: adam}]", "exclude[0].optimizer", "'adam', which no run has"),
        ("[{lr: 0.1}, {lr: 0.2}]", "exclude", "rules that leave out every run of this block"),
        ("[{}]", "exclude", "rules that leave out every run of this block"),
        ("{lr: 0.1}", "exclude", "{lr: 0.1}"),
        ("false", "exclude", "false"),
        ("[lr]", "exclude[0]", "'lr'"),
        ("[{lrr: 0.1}]", "exclude[0].lrr", "unknown key 'lrr'"),
        ("[{lr: fast}]", "exclude[0].lr", "'fast'"),
    ],
)
def test_a_rule_that_drops_nothing_or_everything_is_told(tmp_path: Path, rules: str, where: str, given: str) -> None:
    (mistake,) = told(tmp_path, edited(in_block(f"    exclude: {rules}\n")))
    assert (mistake.where, mistake.line, mistake.given) == (f"grid[0].{where}", 12, given)


# -- what is observed --------------------------------------------------------------------------------------------------


def test_a_block_may_observe_more_and_otherwise(tmp_path: Path) -> None:
    lines = "    observe: {gradient_norm: {every: 2}, losses: {at: [0, 40]}}\n"
    text = edited(in_block(lines), ("observe:\n  losses", "  - {optimizer: gd, lr: 0.3}\nobserve:\n  losses"))
    runs = load(tmp_path, text.partition("claims:")[0]).runs
    assert [[entry.name for entry in run.observe] for run in (runs[0], runs[-1])] == [
        ["gradient_norm", "hessian_top", "losses"],
        ["hessian_top", "losses"],
    ]
    assert [(run.observe[-1].every, run.observe[-1].at) for run in (runs[0], runs[-1])] == [(None, (0, 40)), (1, ())]


@pytest.mark.parametrize("clock", ["{every: 5}", "{at: [0, 7]}", "{pairs: 10}", "{every: 5, at: [1]}", "{every: '5'}"])
def test_every_clock_is_understood(tmp_path: Path, clock: str) -> None:
    assert len(runs_of(tmp_path, ("{every: 1}", clock))) == 4


def test_merged_blocks_are_blocks(tmp_path: Path) -> None:
    text = VALID.replace("  - optimizer: gd\n", "  - &first\n    optimizer: gd\n").partition("claims:")[0]
    runs = load(tmp_path, text.replace("observe:", "  - {<<: *first, lr: 0.7}\nobserve:")).runs
    assert [run.lr for run in runs] == [0.1, 0.1, 0.2, 0.2, 0.7, 0.7]
