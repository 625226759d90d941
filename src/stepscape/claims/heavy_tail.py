"""The spectrum of the weights has a heavy tail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from stepscape.claims import Judgement, within
from stepscape.claims._spectra import SpectrumClaim
from stepscape.fields import Fraction, PositiveReal, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr


@member("heavy_tail", source="arXiv:2211.06506; Martin & Mahoney, arXiv:1810.01075 (exponents)")
class HeavyTail(SpectrumClaim):
    """The mean, over runs, of the exponent a of a density ~ x^-a of the largest eigenvalues of W^T W (Hill).

    W are the first layer's weights. A tail that ends at an edge, as that of a random matrix, has a large exponent.
    """

    end: Annotated[Literal["first", "last"], describe("which measurement")] = "last"
    below: Annotated[PositiveReal, describe("largest exponent of a heavy tail")] = 5.0
    tail: Annotated[Fraction, describe("share of the eigenvalues, the largest, that make the tail")] = 0.1

    @property
    def statement(self) -> str:
        when = "Before" if self.end == "first" else "After"
        return self.named(f"{when} training the spectrum of the first layer's weights has a heavy tail.")

    @property
    def criterion(self) -> str:
        return (
            f"the {self.confidence:.0%} interval of the mean exponent of the largest {self.tail:.0%} of eigenvalues "
            f"lies below {self.below:g}"
        )

    def judge(self, ds: xr.Dataset) -> Judgement:
        from stepscape.analysis.spectra import both_ends, tail_exponent

        values = [
            None if ends is None else tail_exponent(getattr(ends, self.end), self.tail)
            for ends in both_ends(ds, self.recorded)
        ]
        return self.mean(ds, values, lambda low, high: within(max(low, 1), high, (1, self.below)), "not measured")
