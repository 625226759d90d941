"""Label noise ends in flatter places."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from stepscape.claims import Judgement, within
from stepscape.claims._label_noise import LabelNoiseClaim
from stepscape.fields import NonNegativeReal, PositiveReal, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr

    from stepscape.analysis.label_noise import NoisePath


@member("label_noise_flattens", source="Damian, Ma & Lee, arXiv:2106.06530")
class LabelNoiseFlattens(LabelNoiseClaim):
    """The mean over runs of tr H at the end over that of the run of the same seed without noise, or at its own start.

    Judged of runs with noise against `no_noise`; against `start` of all runs, so that those without noise can be a
    control.
    """

    reference: Annotated[Literal["no_noise", "start"], describe("what tr H at the end is divided by")] = "no_noise"
    low: Annotated[NonNegativeReal, describe("lower end of the band")] = 0.0
    high: Annotated[PositiveReal, describe("upper end of the band")] = 0.7

    @model_validator(mode="after")
    def _is_a_band(self) -> Self:
        if self.low >= self.high:
            raise PydanticCustomError("band", "`low` below `high`")
        return self

    @property
    def statement(self) -> str:
        if self.reference == "start":
            return (
                f"Training leaves the trace of the Hessian within {self.low:g} and {self.high:g} of where it started."
            )
        return f"With label noise the trace of the Hessian ends at {self.high:g} or less of that without."

    @property
    def criterion(self) -> str:
        beside = "that of the same seed without noise" if self.reference == "no_noise" else "that at the start"
        return (
            f"the {self.confidence:.0%} interval of the mean ratio of tr H at the end to {beside} lies inside "
            f"[{self.low:g}, {self.high:g}]"
        )

    def judge(self, ds: xr.Dataset) -> Judgement:
        from stepscape.analysis.estimates import mean_over_runs
        from stepscape.analysis.label_noise import noise_paths

        known = noise_paths(ds)
        still = {path.seed: path.trace[-1] for path in known if path.weight == 0}
        pairs = [(path, _ratio(path, still, self.reference)) for path in known]
        judged = [(path, ratio) for path, ratio in pairs if ratio is not None]
        counts = {"without a path": ds.sizes["run"] - len(known), "judged": len(judged)}
        if len(judged) < self.fewest:
            return self.too_few(counts)
        ratios = [ratio for _, ratio in judged]
        mean = mean_over_runs(ratios, [path.group for path, _ in judged], self.confidence)
        low = max(mean.low, 0.0)  # no ratio is below
        reason = f"from {min(ratios):.3g} to {max(ratios):.3g}"
        return Judgement(within(low, mean.high, (self.low, self.high)), mean.value, low, mean.high, reason, counts)


def _ratio(path: NoisePath, still: dict[int, float], reference: str) -> float | None:
    """None where the path has nothing to be compared with."""
    if reference == "start":
        return float(path.trace[-1] / path.trace[0])
    return float(path.trace[-1] / still[path.seed]) if path.weight > 0 and path.seed in still else None
