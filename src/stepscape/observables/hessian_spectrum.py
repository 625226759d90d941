"""The whole spectrum of the Hessian of a small network, and what label noise makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stepscape.observables import Observable, Variable
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np

    from stepscape.observables import Memory
    from stepscape.study.run import Run
    from stepscape.training.snapshot import Snapshot

_MOST_PARAMETERS = 4096


@member("hessian_spectrum", source="regulariser: Damian, Ma & Lee, arXiv:2106.06530")
class HessianSpectrum(Observable):
    """All eigenvalues of the Hessian of the full training loss, from the dense matrix, with functions of them.

    For networks of few parameters: it takes their square in memory. Functions are the trace,
    and with c the stability threshold: R = -(c / 4) tr log(1 - H / c), the regulariser of label noise, and the mean
    loss lambda / 4 tr H (1 - H / c)^-1 that noise keeps up around a zero of the loss. NaN at the threshold and above,
    where there is no stationary state. Of eigenvalues that all are far below it, R is tr H / 4.

    Run files keep the eigenvalues, studies' datasets do not.
    """

    def fault(self, run: Run) -> tuple[str, Any, str] | None:
        if run.parameter_count > _MOST_PARAMETERS:
            allowed = f"networks of at most {_MOST_PARAMETERS} parameters; hessian_density estimates for larger ones"
            return "name", f"{self.name} of {run.parameter_count} parameters", allowed
        return None

    def variables(self, run: Run) -> tuple[Variable, ...]:
        all_of_them = (("parameter",), (run.parameter_count,), "float64")
        numbers = {
            "spectrum_trace": "trace of the Hessian",
            "spectrum_top": "largest eigenvalue of the Hessian",
            "spectrum_threshold": "largest stable eigenvalue",
            "label_noise_regulariser": "R = -(c / 4) tr log(1 - H / c), with c the threshold",
            "label_noise_loss": "mean training loss that label noise keeps up, to first order in its weight",
            "implicit_weight": "lambda, weight of R in the loss that is followed on average",
            "implicit_rate": "length of an update in the time of gradient flow",
        }
        return (
            Variable("spectrum_eigenvalue", "all eigenvalues of the Hessian", *all_of_them, collected=False),
            *(Variable(name, words, dtype="float64") for name, words in numbers.items()),
        )

    def gradients(self, run: Run) -> float:
        return 2 + 0.1 * run.parameter_count  # rows are computed in blocks: fifteen times faster than alone

    def measure(self, snapshot: Snapshot, memory: Memory) -> tuple[Mapping[str, np.ndarray | float], Memory]:
        import numpy as np

        from stepscape.curvature import dense_eigenvalues, regulariser, stationary_loss

        values = dense_eigenvalues(snapshot.problem.dense_hessian(snapshot.theta))
        threshold = np.nan if snapshot.threshold is None else snapshot.threshold
        weight, rate = self._implicit(snapshot)
        return {
            "spectrum_eigenvalue": values,
            "spectrum_trace": float(values.sum()),
            "spectrum_top": float(values[0]),
            "spectrum_threshold": threshold,
            "label_noise_regulariser": regulariser(values, threshold),
            "label_noise_loss": weight * stationary_loss(values, threshold),
            "implicit_weight": weight,
            "implicit_rate": rate,
        }, memory

    def _implicit(self, snapshot: Snapshot) -> tuple[float, float]:
        lr = snapshot.learning_rate
        known = None if lr is None else snapshot.run.optimizer.implicit_regularisation(lr, snapshot.run.batch)
        return (float("nan"), float("nan")) if known is None else (known.weight, known.rate)
