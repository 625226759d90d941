"""A run: everything that determines one trajectory, and what is observed along it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, InstanceOf, WithJsonSchema, model_validator
from pydantic.dataclasses import dataclass as typed_dataclass
from pydantic_core import PydanticCustomError

from stepscape.datasets import Dataset
from stepscape.fields import BatchSize, Count, Index, NonNegativeReal, PositiveReal, Raw, Share, Text, describe
from stepscape.losses import Loss
from stepscape.models import Model
from stepscape.observables import Observable
from stepscape.optimizers import Optimizer
from stepscape.registry import non_defaults
from stepscape.schedules import Schedule
from stepscape.schedules.constant import Constant
from stepscape.study.identity import DIGITS, ENGINE_VERSION, digest, plain, spelled

_NO_LOSSES = "a loss of outputs and targets: outputs of {} are no losses"
_STRICT = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


@typed_dataclass(frozen=True, kw_only=True, config=_STRICT)
class Budget:
    """How long a run trains; exactly one of these. An epoch is floor(N / B) updates, a rest of samples is not used."""

    steps: Annotated[Count | None, describe("updates", "steps")] = None
    epochs: Annotated[Count | None, describe("passes over the training set", "epochs")] = None
    samples: Annotated[Count | None, describe("samples seen, batch by batch", "samples")] = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if sum(value is not None for value in (self.steps, self.epochs, self.samples)) != 1:
            raise PydanticCustomError("budget", "exactly one of `steps`, `epochs`, `samples`")
        return self

    @property
    def words(self) -> str:
        """The budget as a reader says it, such as `100 steps`."""
        return next(f"{value} {unit}" for unit in ("steps", "epochs", "samples") if (value := getattr(self, unit)))

    def updates(self, train_size: int, batch_size: int) -> int:
        """Number of updates T of a run with these sizes."""
        if self.epochs is not None:
            return self.epochs * (train_size // batch_size)
        return self.steps if self.steps is not None else (self.samples or 0) // batch_size


@typed_dataclass(frozen=True, kw_only=True, config=_STRICT)
class Stop:
    """A rule that ends a run before its budget does; exactly one quantity, on the full training set."""

    train_loss: Annotated[PositiveReal | None, describe("stop when the training loss is at most this", "loss")] = None
    train_accuracy: Annotated[Share | None, describe("stop when the training accuracy is at least this")] = None
    every: Annotated[Count, describe("looked at 0 and each multiple of this", "steps")] = 1

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.train_loss is None) == (self.train_accuracy is None):
            raise PydanticCustomError("stop", "exactly one of `train_loss`, `train_accuracy`")
        return self


def _reference(value: Any) -> Any:
    if isinstance(value, Mapping):
        return Raw(dict(value))
    if value is None or isinstance(value, Raw) or (isinstance(value, str) and re.fullmatch(_RUN_ID, value)):
        return value
    allowed = f"a run id ({DIGITS} hex digits; in quotes if they may be a number), or fields that select a run"
    raise PydanticCustomError("run", "{allowed}", {"allowed": allowed})


_RUN_ID = f"[0-9a-f]{{{DIGITS}}}"
RunReference = Annotated[
    str | InstanceOf[Raw],
    BeforeValidator(_reference),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": f"^{_RUN_ID}$"}, {"type": "object"}]}),
]
"""A run id; in a study also fields that select one of its runs, in whose place `resolve_starts` puts the id."""


@typed_dataclass(frozen=True, kw_only=True, config=_STRICT)
class Start:
    """Where theta_0 comes from, if not from model and seed: another run, after some updates, or a file."""

    run: Annotated[
        RunReference | None, describe("the run whose parameters are taken: its id, or fields that select one")
    ] = None
    step: Annotated[Index | None, describe("taken after this many updates of that run, which keeps them", "steps")] = (
        None
    )
    file: Annotated[Text | None, describe("a `.npz` of parameters by name, beside the study; ids hold its content")] = (
        None
    )

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.run is None) == (self.file is None):
            raise PydanticCustomError("start", "exactly one of `run`, `file`")
        if (self.run is None) != (self.step is None):
            raise PydanticCustomError("start", "a `step` with `run`, and none with `file`")
        return self

    def __str__(self) -> str:
        return f"{self.run}@{self.step}" if self.file is None else self.file


@typed_dataclass(frozen=True, kw_only=True, config=_STRICT)
class Run:
    """One point of a grid. Two runs with the same identity are the same run."""

    dataset: Annotated[Dataset, describe("what is trained on")]
    model: Annotated[Model, describe("what is trained")]
    loss: Annotated[Loss, describe("what is minimised: the mean over the training set")]
    optimizer: Annotated[Optimizer, describe("the update rule")]
    lr: Annotated[PositiveReal | None, describe("learning rate; not for optimizers without one")] = None
    batch_size: Annotated[BatchSize, describe("in one batch, or `full` for the whole training set", "samples")] = "full"
    seed: Annotated[Index, describe("draws the initialisation and the order of the data")] = 0
    budget: Annotated[Budget, describe("how long it trains")]
    schedule: Annotated[Schedule, describe("how the learning rate changes")] = Constant()
    stop: Annotated[Stop | None, describe("what ends it before its budget does")] = None
    dtype: Annotated[Literal["float32", "float64"], describe("of parameters, gradients and products")] = "float32"
    branch_noise: Annotated[
        NonNegativeReal,
        describe(
            "noise added to every parameter in every update, so that the seed, not rounding, chooses the branch at "
            "the edge of stability",
            "standard deviations, times RMS(theta_0)",
        ),
    ] = 0.0
    start: Annotated[Start | None, describe("where it starts, if not from model and seed")] = None
    observe: Annotated[tuple[Observable, ...], describe("what is recorded, and when")] = ()

    @property
    def train_size(self) -> int:
        """Number of training samples N."""
        return self.dataset.train_size

    @property
    def batch(self) -> int:
        """Number of samples B in one batch."""
        return self.train_size if self.batch_size == "full" else self.batch_size

    @property
    def is_full_batch(self) -> bool:
        """Whether every update sees the whole training set."""
        return self.batch == self.train_size

    @property
    def updates(self) -> int:
        """Number of updates T of its budget."""
        return self.budget.updates(self.train_size, self.batch)

    @property
    def parent(self) -> str | None:
        """The id of the run it starts from; None where it starts from none."""
        return self.start.run if self.start and isinstance(self.start.run, str) else None

    @cached_property
    def parameter_count(self) -> int:
        """Number of parameters P."""
        return self.model.parameter_count(self.dataset.input_shape, self.dataset.outputs)

    @cached_property
    def spec(self) -> dict[str, Any]:
        """The run in terms of JSON, as it is hashed and stored: defaults left out, versions of what it uses put in."""
        spec = plain(self)
        spec["observe"] = {entry.pop("name"): entry for entry in spec.pop("observe", [])}
        if self.is_full_batch:
            spec.pop("batch_size", None)
        return {**spec, "engine": ENGINE_VERSION}

    @cached_property
    def id(self) -> str:
        """Its identity, 16 hex digits."""
        return self._identities[0]

    @property
    def kin(self) -> str:
        """A hash of all that it has in common with runs of other seeds and starts, 16 hex digits."""
        return self._identities[1]

    @cached_property
    def _identities(self) -> tuple[str, str]:
        texts = self._texts()
        shared = {key: text for key, text in texts.items() if key not in ("seed", "start")}
        return digest(_object(texts)), digest(_object(shared))

    @property
    def canonical(self) -> str:
        """`spec` as canonical JSON, which a hundred thousand runs need sooner than they need it as a mapping."""
        return _object(self._texts())

    def _texts(self) -> dict[str, str]:
        """Key of the spec to canonical JSON, put together of what the parts of the run keep."""
        texts = {key: spelled(held) for key, held in non_defaults(self).items() if key != "observe"}
        texts["observe"] = _object({entry.name: spelled(entry, named=False) for entry in self.observe})
        texts["engine"] = str(ENGINE_VERSION)
        if self.is_full_batch:
            texts.pop("batch_size", None)
        return texts

    def observable(self, name: str) -> Observable | None:
        """The observable called `name`, if this run records it."""
        return next((entry for entry in self.observe if entry.name == name), None)

    def faults(self) -> list[tuple[str, Any, str]]:
        """What contradicts itself: the key, what was given, what is allowed."""
        found: list[tuple[str, Any, str]] = []
        if self.optimizer.has_lr and self.lr is None:
            found.append(("lr", None, f"a number above 0: {self.optimizer.name} has a learning rate"))
        if not self.optimizer.has_lr and self.lr is not None:
            found.append(("lr", self.lr, f"nothing: {self.optimizer.name} has no learning rate"))
        if self.batch > self.train_size:
            found.append(("batch_size", self.batch, f"at most {self.train_size}, the size of the training set"))
        elif self.updates < 1:
            found.append(("budget", self.budget.samples, f"at least one batch of {self.batch} samples"))
        if self.loss.needs_classes and not self.dataset.has_classes:
            found.append(("loss", self.loss.name, f"a loss for regression: {self.dataset.name} has no classes"))
        if self.loss.takes_losses != self.model.returns_losses:
            allowed = "mean_output: outputs of {} are losses" if self.model.returns_losses else _NO_LOSSES
            found.append(("loss", self.loss.name, allowed.format(self.model.name)))
        inputs = self.model.input_fault(self.dataset.input_shape)
        if inputs:
            shape = list(self.dataset.input_shape)
            found.append(
                ("model", self.model.name, f"a model for inputs of shape {shape}; {self.model.name} takes {inputs}")
            )
        if self.stop and self.stop.train_accuracy is not None and not self.dataset.has_classes:
            found.append(("stop", "train_accuracy", f"train_loss: {self.dataset.name} has no classes"))
        return found or self._clock_faults()

    def _clock_faults(self) -> list[tuple[str, Any, str]]:
        found = []
        for observable in self.observe:
            place = f"observe.{observable.name}"
            late = [step for step in observable.at if step > self.updates]
            if late:
                found.append((f"{place}.at", late[0], f"steps up to {self.updates}, the last of the run"))
            fault = observable.fault(self)
            if fault:
                found.append((f"{place}.{fault[0]}", fault[1], fault[2]))
        return found


def _object(texts: Mapping[str, str]) -> str:
    """A canonical JSON object of keys, which are identifiers, and their values' JSON."""
    return "{" + ",".join([f'"{key}":{texts[key]}' for key in sorted(texts)]) + "}"


def describe_run(run: Run) -> str:
    """A run in one line: what tells it from its neighbours first."""
    lr = "" if run.lr is None else f" lr={run.lr:g}"
    start = "" if run.start is None else f" start={run.start}"
    told = f"{run.optimizer.name}{lr} batch_size={run.batch_size} seed={run.seed}{start}"
    return f"{told} {run.model.name} {run.loss.name} {run.dataset.name}"
