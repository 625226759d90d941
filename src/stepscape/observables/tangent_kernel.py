"""The spectrum of the tangent kernel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from stepscape.observables import Variable
from stepscape.observables._kernels import KernelSpectrum
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np

    from stepscape.observables import Memory
    from stepscape.study.run import Run
    from stepscape.training.snapshot import Snapshot


@member("tangent_kernel", source="arXiv:1806.07572")
class TangentKernel(KernelSpectrum):
    """The largest eigenvalues of J J^T, J the Jacobian of all outputs on some samples, its trace, and its alignment.

    The alignment is the cosine between the matrix and y y^T, y the targets of these samples.
    """

    def rows(self, run: Run) -> int:
        return self.count(run) * run.dataset.outputs

    def variables(self, run: Run) -> tuple[Variable, ...]:
        return self.spectrum_variables(run, "tangent_kernel", "the tangent kernel")

    def gradients(self, run: Run) -> float:
        return 1 + self.rows(run) * self.count(run) / run.train_size

    def measure(self, snapshot: Snapshot, memory: Memory) -> tuple[Mapping[str, np.ndarray | float], Memory]:
        from stepscape.curvature import tangent_kernel

        problem = snapshot.problem
        kernel = tangent_kernel(problem.outputs, snapshot.theta, problem.train.inputs[: self.samples])
        return self.spectrum("tangent_kernel", kernel, problem.train.targets[: self.samples]), memory
