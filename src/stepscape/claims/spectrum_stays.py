"""Training leaves a spectrum as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from stepscape.claims import Judgement, within
from stepscape.claims._spectra import WHAT, SpectrumClaim
from stepscape.fields import Fraction, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr

    from stepscape.study.run import Run


@member("spectrum_stays", source="arXiv:2211.06506")
class SpectrumStays(SpectrumClaim):
    """The mean, over runs, of the Kolmogorov distance between a spectrum before and after training.

    It is of all eigenvalues: one that leaves the bulk adds 1 / n at most. Only runs that have learnt count, or nothing
    would have had a chance to move.
    """

    spectrum: Annotated[Literal["first_layer", "feature_kernel", "tangent_kernel"], describe("whose")] = "first_layer"
    at_most: Annotated[Fraction, describe("largest distance")] = 0.03
    learnt: Annotated[Fraction, describe("final over initial training loss, at most, of runs that count")] = 0.1

    @property
    def recorded(self) -> str:
        """The observable that records the spectrum."""
        return self.spectrum

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        return ((self.recorded,), ("losses",))

    @property
    def statement(self) -> str:
        return self.named(f"Training leaves the spectrum of {WHAT[self.spectrum]} as it was.")

    @property
    def criterion(self) -> str:
        return (
            f"the {self.confidence:.0%} interval of the mean Kolmogorov distance between the first and the last "
            f"spectrum, over runs whose training loss fell to {self.learnt:g} of what it was or less, lies below "
            f"{self.at_most:g}"
        )

    def judge(self, ds: xr.Dataset) -> Judgement:
        from stepscape.analysis.spectra import both_ends, loss_ratios

        pairs = zip(both_ends(ds, self.spectrum), loss_ratios(ds), strict=True)
        values = [None if ends is None or not ratio <= self.learnt else ends.moved for ends, ratio in pairs]
        return self.mean(ds, values, lambda low, high: within(max(low, 0), high, (0, self.at_most)), "not learnt")
