"""The identity of a run: one for all spellings, another for every other value, the same in every process."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepscape.errors import Mistaken
from stepscape.study.grid import parse_observe
from stepscape.study.identity import canonical_json, digest
from stepscape.study.restore import restore_run
from stepscape.study.run import Run
from stepscape.study.spec import load_study
from stepscape.study.values import parse
from tests.planning import SHIPPED, VALID, load, run_python

Keys = dict[str, Any]
TRAIN_SIZE = 100


def make_run(keys: Keys) -> Run:
    """A run from what a study would say of it."""
    given = {key: parse(key, value, key) for key, value in keys.items() if key != "observe"}
    return Run(**given, observe=tuple(parse_observe(keys["observe"], "observe").values()))


# -- runs, and how they may be spelled ---------------------------------------------------------------------------------

positive = st.floats(1e-300, 1e300)
shares = st.floats(0, 1, exclude_max=True)
counts = st.integers(1, 10**6)
clocks = st.fixed_dictionaries({"every": counts}, optional={"pairs": counts})

OPTIONAL = {
    "batch_size": st.one_of(st.just("full"), st.integers(1, TRAIN_SIZE)),
    "seed": st.integers(0, 2**63 - 1),
    "stop": st.fixed_dictionaries({"train_loss": positive}, optional={"every": counts}),
    "dtype": st.sampled_from(["float32", "float64"]),
    "branch_noise": st.floats(0, 1),
    "start": st.one_of(
        st.fixed_dictionaries({"run": st.sampled_from(["0123456789abcdef", "f" * 16]), "step": st.integers(0, 9)}),
        st.fixed_dictionaries({"file": st.sampled_from(["0123456789abcdef", "f" * 16])}),
    ),
}
RUNS = st.fixed_dictionaries(
    {
        "dataset": st.fixed_dictionaries(
            {"name": st.just("digits"), "train_size": st.just(TRAIN_SIZE)}, optional={"test_size": st.integers(1, 500)}
        ),
        "model": st.one_of(
            st.fixed_dictionaries(
                {"name": st.just("mlp")}, optional={"hidden": st.lists(counts, min_size=1, max_size=3)}
            ),
            st.fixed_dictionaries({"name": st.just("linear")}, optional={"bias": st.booleans()}),
        ),
        "loss": st.sampled_from(["mse", "cross_entropy"]),
        "optimizer": st.one_of(
            st.just("gd"),
            st.fixed_dictionaries({"name": st.just("adam")}, optional={"beta1": shares, "eps": positive}),
        ),
        "lr": positive,
        "budget": st.one_of(*(st.fixed_dictionaries({unit: counts}) for unit in ("steps", "epochs", "samples"))),
        "observe": st.fixed_dictionaries(
            {"losses": clocks},
            optional={"hessian_top": st.fixed_dictionaries({"every": counts}, optional={"tol": positive, "k": counts})},
        ),
    },
    optional=OPTIONAL,
)


def spellings(value: Any) -> st.SearchStrategy[Any]:
    """Other ways to write a value: numbers as texts, whole numbers as floats, keys in another order."""
    if isinstance(value, dict):
        ordered = st.permutations(list(value))
        return ordered.flatmap(lambda keys: st.fixed_dictionaries({key: spellings(value[key]) for key in keys}))
    if isinstance(value, list):
        return st.tuples(*map(spellings, value)).map(list)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return st.just(value)
    texts = [repr(value), f" {value!r} ", f"{Decimal(value):e}", f"{Decimal(value):E}", f"+{value!r}"]
    whole = [float(value)] if isinstance(value, int) and value < 2**53 else []
    short = [int(value)] if isinstance(value, float) and value.is_integer() else []
    return st.sampled_from([value, *texts, *whole, *short])


@st.composite
def spelled_twice(draw: st.DrawFn) -> tuple[Keys, Keys]:
    keys = draw(RUNS)
    return keys, draw(spellings(keys))


@given(spelled_twice())
def test_a_run_has_one_identity_however_it_is_spelled(keys: tuple[Keys, Keys]) -> None:
    one, other = map(make_run, keys)
    assert one.spec == other.spec
    assert one.id == other.id


@pytest.mark.parametrize("lr", [0.001, "1e-3", "0.001", "1.0e-3", "1E-3", "+.001", "0.1e-2"])
def test_the_spellings_one_meets(lr: Any) -> None:
    keys = {
        "dataset": "digits",
        "model": "mlp",
        "loss": "mse",
        "optimizer": "gd",
        "budget": {"steps": "1e2"},
        "observe": {},
    }
    assert make_run({**keys, "lr": lr}).id == make_run({**keys, "lr": 0.001}).id


def alike(one: Run, other: Run) -> bool:
    """Whether two runs are the same in every value."""
    return dataclasses.replace(one, batch_size=one.batch) == dataclasses.replace(other, batch_size=other.batch)


@given(RUNS, RUNS, st.sampled_from(["dataset", "model", "loss", "optimizer", "lr", "budget", "observe", *OPTIONAL]))
def test_identities_differ_where_a_value_does(keys: Keys, others: Keys, key: str) -> None:
    changed = {name: value for name, value in keys.items() if name != key}
    if key in others:
        changed[key] = others[key]
    one, other = make_run(keys), make_run(changed)
    assert (one.id == other.id) == alike(one, other)


@given(RUNS, st.sampled_from(sorted(OPTIONAL)), st.data())
def test_an_identity_changes_with_what_may_be_left_out(keys: Keys, key: str, data: st.DataObject) -> None:
    one, other = make_run(keys), make_run({**keys, key: data.draw(OPTIONAL[key])})
    assert (one.id == other.id) == alike(one, other)


@given(RUNS)
def test_a_default_spelled_out_changes_nothing(keys: Keys) -> None:
    full = {
        "seed": 0,
        "batch_size": "full",
        "dtype": "float32",
        "branch_noise": 0,
        "schedule": "constant",
        "stop": None,
        "start": None,
    }
    assert make_run({**full, **keys}).id == make_run(keys).id


@given(RUNS)
def test_a_batch_of_the_whole_training_set_is_full(keys: Keys) -> None:
    full, whole, text = (make_run({**keys, "batch_size": size}) for size in ("full", TRAIN_SIZE, str(TRAIN_SIZE)))
    assert full.id == whole.id == text.id
    assert full.is_full_batch
    assert whole.is_full_batch


@given(RUNS)
def test_a_run_comes_back_from_what_is_stored_of_it(keys: Keys) -> None:
    run = make_run(keys)
    stored = json.loads(json.dumps(run.spec))
    restored = restore_run(stored)
    assert restored.spec == stored == run.spec
    assert run.canonical == canonical_json(stored)
    assert restored.id == run.id == digest(canonical_json(stored))


def test_an_identity_is_what_the_design_says(tmp_path: Path) -> None:
    """The first 16 digits of SHA-256 over JSON with sorted keys, no spaces, defaults left out, versions put in."""
    text = (
        '{"budget":{"steps":40},"dataset":{"name":"digits","test_size":20,"train_size":100,"version":1},"engine":2,'
        '"loss":{"name":"mse","version":1},"lr":0.1,"model":{"hidden":[8],"name":"mlp","version":1},'
        '"observe":{"hessian_top":{"every":20,"k":2,"version":1},"losses":{"every":1,"version":1}},'
        '"optimizer":{"name":"gd","version":1},"seed":1}'
    )
    run = load(tmp_path, VALID).runs[1]
    assert canonical_json(run.spec) == text
    assert run.id == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_identities_are_the_same_in_every_process() -> None:
    names = [str(path) for path in SHIPPED]
    code = f"from stepscape import load_study\nfor name in {names}: print(*(run.id for run in load_study(name).runs))"
    printed = {run_python(code, PYTHONHASHSEED=str(seed)) for seed in (0, 1, 2)}
    assert printed == {"".join(" ".join(run.id for run in load_study(path).runs) + "\n" for path in SHIPPED)}


# -- what is no run ----------------------------------------------------------------------------------------------------


@pytest.fixture
def spec(tmp_path: Path) -> dict[str, Any]:
    """What is stored of a run."""
    return load(tmp_path, VALID).runs[1].spec


@pytest.mark.parametrize(
    ("change", "where", "told"),
    [
        ({"engine": 9}, "engine", "version 9 of the engine"),
        ({"engine": None}, "engine", "no version of the engine"),
        ({"model": {"name": "mlp", "version": 2}}, "model", "version 2 of model mlp"),
        ({"model": {"name": "mlp"}}, "model", "no version of model mlp"),
        ({"model": {"name": "mlp", "version": 2, "gone": 1}}, "model", "version 2 of model mlp"),
        ({"model": {"name": "mlp", "version": 1, "gone": 1}}, "model.gone", "unknown key 'gone'"),
        ({"model": {"name": "mpl", "version": 1}}, "model.name", "unknown model 'mpl'"),
        ({"model": {"version": 1}}, "model", "{}"),
        ({"model": "mlp"}, "model", "'mlp'"),
        ({"observe": {"losses": {"every": 1, "version": 7}}}, "observe.losses", "version 7 of observable losses"),
        ({"observe": {"losses": {"version": 1}}}, "observe.losses", None),
        ({"observe": {"losses": None}}, "observe", "{losses: null}"),
        ({"observe": []}, "observe", "[]"),
        ({"lr": "fast"}, "lr", "'fast'"),
        ({"budget": {}}, "budget", "{}"),
        ({"new": 1}, "new", "unknown key 'new'"),
    ],
)
def test_what_another_version_stored_is_told(spec: dict[str, Any], change: Keys, where: str, told: str | None) -> None:
    with pytest.raises(Mistaken) as caught:
        restore_run({**spec, **change})
    (mistake,) = caught.value.mistakes
    assert mistake.where == where
    assert told in (mistake.given, None)


@pytest.mark.parametrize("stored", [[], None, "run", {}])
def test_what_is_no_stored_run_is_told(stored: Any) -> None:
    with pytest.raises(Mistaken):
        restore_run(stored)


def test_what_is_missing_is_told(spec: dict[str, Any]) -> None:
    with pytest.raises(Mistaken) as caught:
        restore_run({key: held for key, held in spec.items() if key not in ("model", "budget")})
    assert [mistake.where for mistake in caught.value.mistakes] == ["model", "budget"]
