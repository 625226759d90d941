"""The spectrum of the conjugate kernel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stepscape.observables import Variable
from stepscape.observables._kernels import KernelSpectrum
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np

    from stepscape.observables import Memory
    from stepscape.study.run import Run
    from stepscape.training.snapshot import Snapshot


@member("feature_kernel", source="arXiv:2005.11879")
class FeatureKernel(KernelSpectrum):
    """The largest eigenvalues of F F^T / width, F what enters the last linear layer on some samples, and its alignment.

    The conjugate kernel. The alignment is the cosine between the matrix and Y Y^T, Y the targets of these samples.
    """

    def rows(self, run: Run) -> int:
        return self.count(run)

    def variables(self, run: Run) -> tuple[Variable, ...]:
        return self.spectrum_variables(run, "feature_kernel", "the feature kernel")

    def fault(self, run: Run) -> tuple[str, Any, str] | None:
        if not run.model.trains_last_layer:
            return "name", self.name, f"nothing: this {run.model.name} trains no last linear layer"
        return super().fault(run)

    def gradients(self, run: Run) -> float:
        return 1 / 3

    def measure(self, snapshot: Snapshot, memory: Memory) -> tuple[Mapping[str, np.ndarray | float], Memory]:
        import torch

        from stepscape.curvature import feature_kernel

        problem = snapshot.problem
        with torch.no_grad():
            features = problem.network.features(snapshot.theta, problem.train.inputs[: self.samples])
        return self.spectrum("feature_kernel", feature_kernel(features), problem.train.targets[: self.samples]), memory
