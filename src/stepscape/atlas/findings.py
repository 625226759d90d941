"""What was found, in words: a page of Markdown beside the study that takes its numbers from the verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from stepscape.errors import StepscapeError, listed
from stepscape.study.source import read_text
from stepscape.study.spec import Study


class Told:
    """What a claim came to, as text."""

    def __init__(self, claim: Mapping[str, Any]) -> None:
        self._claim = claim
        self.id: str = claim["id"]
        self.statement: str = claim["statement"]
        self.criterion: str = claim["criterion"]
        self.reason: str = claim["reason"]
        self.verdict: str = claim["verdict"].replace("_", " ")

    @property
    def value(self) -> str:
        """The number, to three digits; a dash where there is none."""
        return _spelt(self._claim["value"])

    @property
    def low(self) -> str:
        """The lower end of its interval."""
        return _spelt(self._claim["low"])

    @property
    def high(self) -> str:
        """The upper end of its interval."""
        return _spelt(self._claim["high"])

    @property
    def interval(self) -> str:
        """Both ends; empty where there is none."""
        return "" if self._claim["low"] is None else f"[{self.low}, {self.high}]"

    @property
    def runs(self) -> str:
        """How many runs played which part."""
        return ", ".join(f"{count} {part.replace('_', ' ')}" for part, count in self._claim["runs"].items())


def _spelt(value: float | None) -> str:
    return "–" if value is None else f"{value:#.3g}".removesuffix(".")


def render_findings(study: Study, claims: Sequence[Told]) -> str:
    """The page `<study>.md` beside a study, with `{{ claims.<id>.value }}` and the like filled in.

    Args:
        study: the study.
        claims: what its claims came to.

    Returns:
        Markdown; empty where there is no such page.

    Raises:
        StepscapeError: it names what is not there.
    """
    path = study.path.with_suffix(".md")
    if not path.is_file():
        return ""
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
    try:
        return environment.from_string(read_text(path)).render(claims={claim.id: claim for claim in claims}).strip()
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        known = f"claims of the study: {listed(claim.id for claim in claims)}; of each: value, low, high, verdict"
        raise StepscapeError(f"{path}{f', line {line}' if line else ''}: {error.message}\n  allowed  {known}") from None
