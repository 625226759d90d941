"""The time in which label noise flattens is a power of the learning rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from stepscape.claims import Judgement
from stepscape.claims._settling import SettlingClaim
from stepscape.fields import Real, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr


@member("settling_time_exponent", source="Cowsik, Can & Glorioso, arXiv:2210.16400")
class SettlingTimeExponent(SettlingClaim):
    """The exponent a in: updates until tr G settles ~ lr^a, with the fastest momentum or with none.

    It is -2/3 along the fastest momentum, and -2 at fixed momentum. Times are found as in `fastest_momentum_exponent`;
    a learning rate is left out where a seed does not settle within its budget.
    """

    momentum: Annotated[Literal["fastest", "none"], describe("whether beta is the fastest, or 0")] = "fastest"
    low: Annotated[Real, describe("lower end of the band of exponents")] = -0.82
    high: Annotated[Real, describe("upper end of the band of exponents")] = -0.52

    @property
    def statement(self) -> str:
        which = "With the fastest momentum" if self.momentum == "fastest" else "Without momentum"
        power = f"a power of {self.low:g} to {self.high:g}"
        return self.named(f"{which} the time to settle goes as the learning rate to {power}.")

    @property
    def criterion(self) -> str:
        return (
            f"the {self.confidence:.0%} interval of the exponent of the settling time lies inside "
            f"[{self.low:g}, {self.high:g}]; settled at {self.level:g} of the first tr G"
        )

    def judge(self, ds: xr.Dataset) -> Judgement:
        from stepscape.analysis.settling import settling_times

        found = self.found(ds)
        if isinstance(found, Judgement):
            return found
        return self.judged_line(ds, settling_times(found, self.momentum), (self.low, self.high))
