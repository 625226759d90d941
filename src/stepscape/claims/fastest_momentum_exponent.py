"""The momentum with which label noise flattens fastest is a power of the learning rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from stepscape.claims import Judgement
from stepscape.claims._settling import SettlingClaim
from stepscape.fields import Real, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr


@member("fastest_momentum_exponent", source="Cowsik, Can & Glorioso, arXiv:2210.16400")
class FastestMomentumExponent(SettlingClaim):
    """The exponent a in: 1 - beta ~ lr^a, for the beta with which tr G settles first.

    With too little momentum the drift along the minima is slow, (1 - beta)^2 / lr^2 updates; with too much the
    velocity takes 1 / (1 - beta) updates to calm down. Both are equal where (1 - beta)^3 ~ lr^2. tr G has settled when
    it stays at the level for good. For each learning rate and seed the fastest is the centre of the basin of the
    settling times; a learning rate is left out where for a seed it lies at an end of the grid. The interval is that of
    the line through the medians over seeds.
    """

    low: Annotated[Real, describe("lower end of the band of exponents")] = 0.52
    high: Annotated[Real, describe("upper end of the band of exponents")] = 0.82

    @property
    def statement(self) -> str:
        power = f"a power of {self.low:g} to {self.high:g}"
        return self.named(f"The fastest 1 - beta grows as the learning rate to {power}.")

    @property
    def criterion(self) -> str:
        return (
            f"the {self.confidence:.0%} interval of the exponent of the fastest 1 - beta lies inside "
            f"[{self.low:g}, {self.high:g}]; settled at {self.level:g} of the first tr G"
        )

    def judge(self, ds: xr.Dataset) -> Judgement:
        from stepscape.analysis.settling import fastest_dampings

        found = self.found(ds)
        if isinstance(found, Judgement):
            return found
        return self.judged_line(ds, fastest_dampings(found), (self.low, self.high))
