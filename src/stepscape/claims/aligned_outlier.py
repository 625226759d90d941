"""One eigenvalue of the weights leaves the bulk, and its eigenvector points along the data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from stepscape.claims import Judgement, above
from stepscape.claims._spectra import SpectrumClaim
from stepscape.fields import Fraction, Index, PositiveReal, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr


@member("aligned_outlier", source="arXiv:2211.06506")
class AlignedOutlier(SpectrumClaim):
    """The share of runs that end with a given number of outliers and, if any, a leading eigenvector along X^T Y.

    Outliers are eigenvalues of W^T W / h, of the first layer, beyond the upper edge of the Marchenko-Pastur law of the
    weights at the start, by a margin that a random matrix of a few hundred columns rarely reaches.
    """

    outliers: Annotated[Index, describe("how many there must be, no more and no less")] = 1
    beyond: Annotated[PositiveReal, describe("an outlier is larger than this", "upper edges")] = 1.05
    aligned: Annotated[Fraction, describe("least |cos| of leading eigenvector and X^T Y")] = 0.5

    @property
    def statement(self) -> str:
        if not self.outliers:
            return self.named("No eigenvalue of the first layer's weights leaves the bulk.")
        number = "One eigenvalue" if self.outliers == 1 else f"{self.outliers} eigenvalues"
        leave = "leaves" if self.outliers == 1 else "leave"
        return self.named(
            f"{number} of the first layer's weights {leave} the bulk, and the leading direction is the data's."
        )

    @property
    def criterion(self) -> str:
        with_cosine = f" and |cos(u_1, X^T Y)| above {self.aligned:g}" if self.outliers else ""
        return (
            f"the {self.confidence:.0%} interval of the share of runs with exactly {self.outliers} eigenvalues beyond "
            f"{self.beyond:g} of the Marchenko-Pastur edge{with_cosine} lies above 0.5"
        )

    def judge(self, ds: xr.Dataset) -> Judgement:
        from stepscape.analysis.spectra import both_ends, outlier_path, start_law

        values: list[float | None] = []
        for index, ends in enumerate(both_ends(ds, self.recorded)):
            if ends is None:
                values.append(None)
                continue
            count = int((ends.last > self.beyond * start_law(ds, index).edges[1]).sum())
            cosine = outlier_path(ds, index)[2][-1]
            values.append(float(count == self.outliers and (not self.outliers or cosine > self.aligned)))
        return self.mean(ds, values, lambda low, high: above(low, high, 0.5), "not measured")
