"""The largest stable learning rate of one optimizer grows faster with the batch size than that of another."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated

from stepscape.claims import Judgement, above
from stepscape.claims._scaling import ScalingClaim, counts, left_out, mixed, too_few
from stepscape.fields import Text, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr


@member("stable_lr_exponent_difference", source="arXiv:2006.09092")
class StableLearningRateExponentDifference(ScalingClaim):
    """a(first) - a(second), with a the exponent in: largest stable lr ~ B^a, found as in `stable_lr_exponent`.

    The interval is Welch's, of two lines that do not depend on each other. Both exponents stand in the reason.
    """

    first: Annotated[Text, describe("optimizer, by name or label, whose exponent is to be the larger")] = "gd"
    second: Annotated[Text, describe("optimizer, by name or label, whose exponent is subtracted")] = "adam"

    @property
    def statement(self) -> str:
        return f"The largest stable learning rate grows faster with the batch size for {self.first} than {self.second}."

    @property
    def criterion(self) -> str:
        return f"the {self.confidence:.0%} interval of the difference of the two exponents lies above 0"

    def judge(self, ds: xr.Dataset) -> Judgement:
        from stepscape.analysis.batch_scaling import stable_scaling
        from stepscape.analysis.estimates import difference

        parts = {label: _of_optimizer(ds, label) for label in (self.first, self.second)}
        if reason := _untestable(ds, parts):
            return Judgement("not_testable", reason=reason)
        scalings = {label: stable_scaling(part) for label, part in parts.items()}
        runs = dict(sum((Counter(counts(parts[label], scaling)) for label, scaling in scalings.items()), Counter()))
        exponents = {label: scaling.exponent for label, scaling in scalings.items()}
        first, second = exponents.values()
        if first is None or second is None:
            few = [f"{label}: {too_few(scalings[label])}" for label, found in exponents.items() if found is None]
            return Judgement("not_testable", reason="; ".join(few), runs=runs)
        shown = []
        for label, exponent in ((self.first, first), (self.second, second)):
            own = exponent.interval(self.confidence)
            note = left_out(scalings[label])
            shown.append(f"{label} {own.value:.2f} [{own.low:.2f}, {own.high:.2f}]{f' {note}' if note else ''}")
        gap = difference(first, second).interval(self.confidence)
        return Judgement(above(gap.low, gap.high, 0), gap.value, gap.low, gap.high, "; ".join(shown), runs)


def _of_optimizer(ds: xr.Dataset, label: str) -> xr.Dataset:
    names = [ds[key].values == label for key in ("optimizer", "optimizer_name") if key in ds.coords]
    return ds.isel(run=sum(names) > 0)


def _untestable(ds: xr.Dataset, parts: dict[str, xr.Dataset]) -> str:
    for label, part in parts.items():
        if not part.sizes["run"]:
            return f"no runs of {label}"
        if reason := mixed(part):
            return f"{label}: {reason}"
    return mixed(ds, [str(name) for name in ds.coords if str(name).startswith("optimizer")])
