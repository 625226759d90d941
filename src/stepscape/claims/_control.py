"""Claims that may be controls."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as typed_dataclass

from stepscape.claims import Claim
from stepscape.fields import Flag, describe


@typed_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class ControlClaim(Claim):
    """A claim that may be judged where it must fail, so that it is seen that it can."""

    control: Annotated[Flag, describe("whether it is judged where it must fail")] = False

    def named(self, statement: str) -> str:
        """The statement, said to be a control where it is one."""
        return f"Control, which must fail: {statement[0].lower()}{statement[1:]}" if self.control else statement
