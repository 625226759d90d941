"""The weights have the spectrum of a random matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from stepscape.claims import Judgement, within
from stepscape.claims._spectra import SpectrumClaim
from stepscape.fields import Fraction, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr


@member("follows_marchenko_pastur", source="arXiv:2211.06506")
class FollowsMarchenkoPastur(SpectrumClaim):
    """The mean, over runs, of the Kolmogorov distance between the first layer's spectrum and the Marchenko-Pastur law.

    Variance and shape of the law are those of the weights at the start, whichever end is judged.
    """

    end: Annotated[Literal["first", "last"], describe("which measurement")] = "first"
    at_most: Annotated[Fraction, describe("largest distance")] = 0.03

    @property
    def statement(self) -> str:
        when = "Before" if self.end == "first" else "After"
        return self.named(f"{when} training the first layer's weights have the spectrum of a random matrix.")

    @property
    def criterion(self) -> str:
        return (
            f"the {self.confidence:.0%} interval of the mean Kolmogorov distance to the Marchenko-Pastur law lies "
            f"below {self.at_most:g}"
        )

    def judge(self, ds: xr.Dataset) -> Judgement:
        from stepscape.analysis.spectra import both_ends, start_law

        values = [
            None if ends is None else start_law(ds, index).kolmogorov_distance(getattr(ends, self.end))
            for index, ends in enumerate(both_ends(ds, self.recorded))
        ]
        return self.mean(ds, values, lambda low, high: within(max(low, 0), high, (0, self.at_most)), "not measured")
