"""What the observables of kernel matrices share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as typed_dataclass

from stepscape.fields import Count, describe
from stepscape.observables import Observable, Variable

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from stepscape.study.run import Run


@typed_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class KernelSpectrum(Observable):
    """The spectrum of a kernel matrix on the first training samples, and how well it is aligned with the targets."""

    samples: Annotated[Count, describe("training samples, the first ones, or all where there are fewer", "samples")] = (
        32
    )
    k: Annotated[Count, describe("number of largest eigenvalues, or all where there are fewer")] = 10

    def rows(self, run: Run) -> int:
        """Rows of the matrix."""
        raise NotImplementedError

    def count(self, run: Run) -> int:
        """Samples that are looked at."""
        return min(self.samples, run.train_size)

    def spectrum_variables(self, run: Run, prefix: str, kernel: str) -> tuple[Variable, ...]:
        """What is recorded of `kernel`, with names that start with `prefix`."""
        top = (("eigenvalue",), (min(self.k, self.rows(run)),), "float64")
        return (
            Variable(f"{prefix}_eigenvalue", f"largest eigenvalues of {kernel}", *top),
            Variable(f"{prefix}_trace", f"trace of {kernel}", dtype="float64"),
            Variable(
                f"{prefix}_alignment", f"cosine between {kernel} and that of the targets", dtype="float64", summary=True
            ),
        )

    def spectrum(self, prefix: str, kernel: Tensor, targets: Tensor) -> Mapping[str, np.ndarray | float]:
        """The values of `spectrum_variables`, of a kernel matrix (rows, rows) and targets (samples, outputs)."""
        import numpy as np
        import torch

        from stepscape.curvature import alignment

        if not kernel.isfinite().all():
            nothing = float("nan")
            values = np.full(min(self.k, len(kernel)), nothing)
            return {f"{prefix}_eigenvalue": values, f"{prefix}_trace": nothing, f"{prefix}_alignment": nothing}
        return {
            f"{prefix}_eigenvalue": torch.linalg.eigvalsh(kernel).flip(0)[: self.k].cpu().numpy(),
            f"{prefix}_trace": kernel.trace().item(),
            f"{prefix}_alignment": alignment(kernel, targets),
        }
