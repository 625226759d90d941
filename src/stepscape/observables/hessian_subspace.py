"""How the span of the Hessian's top eigenvectors turns along a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from stepscape.fields import Count, Flag, Index, PositiveReal, describe
from stepscape.observables import Variable
from stepscape.observables._tracking import TrackedEigenpairs
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from stepscape.observables import Memory
    from stepscape.study.run import Run
    from stepscape.training.snapshot import Snapshot

SKETCH_BLOCK = 8  # the curvature room's, known here without torch


@member("hessian_subspace", source="arXiv:1812.04754")
class HessianSubspace(TrackedEigenpairs):
    """Overlaps |U_t U_s^T|_F^2 / k of the top k eigenvectors' span with earlier ones, and the gradient's share in it.

    A null to compare with: U_t against itself with coordinates permuted inside each weight and bias. The eigenpairs
    are found once for this and a `hessian_top` of the same clock, k, tol and audit_every without `bottom`.
    """

    k: Annotated[Count, describe("number of eigenvectors")] = 10
    tol: Annotated[PositiveReal, describe("largest relative residual |Hv - lambda v| / |lambda|")] = 1e-3
    references: Annotated[
        tuple[Index, ...], describe("measured steps that all later ones are compared with", "steps")
    ] = ()
    shuffles: Annotated[Index, describe("permutations that the null is drawn from; 0: none")] = 30
    sketch: Annotated[
        Index, describe("entries of a sketched eigenvector, from which all pairs are compared; 0: none")
    ] = 1024
    vectors: Annotated[Flag, describe("whether the run file keeps the eigenvectors, in float16")] = False

    def variables(self, run: Run) -> tuple[Variable, ...]:
        vector = (("vector",), (self.k,))
        found = [
            Variable("subspace_eigenvalue", "eigenvalues of the subspace", *vector, "float64"),
            Variable("subspace_residual", "relative residual of the eigenpair", *vector),
            Variable("subspace_products", "Hessian products spent, audits apart"),
            Variable("subspace_overlap", "overlap with the last measurement and the one before", ("lag",), (2,)),
            Variable("subspace_cosine", "cosines of the principal angles to the last measurement", *vector),
            Variable("gradient_share", "share of the squared gradient in the subspace", summary=True),
        ]
        if self.references:
            reference = (("reference",), (len(self.references),))
            found.append(Variable("subspace_reference_overlap", "overlap with the reference steps", *reference))
        if self.shuffles:
            found.append(Variable("subspace_null", "overlap with its own permutations, mean"))
            found.append(Variable("subspace_null_largest", "overlap with its own permutations, largest"))
        parameters = _parameters(run)
        if self.sketch:
            shape = (self.k, min(self.sketch, parameters))
            found.append(
                Variable("subspace_sketch", "sketched eigenvectors, orthonormal", ("vector", "entry"), shape, "float16")
            )
        if self.vectors:
            both = (("vector", "parameter"), (self.k, parameters))
            found.append(Variable("subspace_vector", "eigenvectors", *both, "float16", collected=False))
        return tuple(found)

    def gradients(self, run: Run) -> float:
        comparisons = 3 + len(self.references) + self.shuffles
        own = comparisons * self.k**2 / (3 * run.train_size) + 0.1 * self.shuffles
        return own if self._asks_what_hessian_top_asks(run) else own + super().gradients(run)

    def _asks_what_hessian_top_asks(self, run: Run) -> bool:
        other = run.observable("hessian_top")
        names = ("every", "at", "pairs", "k", "tol", "audit_every", "smallest")
        return other is not None and all(getattr(other, name) == getattr(self, name) for name in names)

    def fault(self, run: Run) -> tuple[str, Any, str] | None:
        unmeasured = [step for step in self.references if step > run.updates or not self.is_due(step)]
        if unmeasured:
            return "references", unmeasured[0], "steps at which this is measured"
        if self.sketch and (self.sketch < self.k or self.sketch % SKETCH_BLOCK):
            return "sketch", self.sketch, f"0, or a multiple of {SKETCH_BLOCK} that is at least k"
        return super().fault(run)

    def measure(self, snapshot: Snapshot, memory: Memory) -> tuple[Mapping[str, np.ndarray | float], Memory]:
        import numpy as np

        from stepscape.curvature.subspaces import overlap, principal_cosines, shuffled_overlaps

        found, kept = self.solve("hessian", snapshot.hessian, snapshot, memory)
        pairs = found.pairs
        here, last = pairs.vectors, memory.get("vectors")
        kept |= {name: value for name, value in memory.items() if name.startswith("reference")}
        if last is not None:
            kept["before"] = last
        if snapshot.step in self.references:
            kept[f"reference {snapshot.step}"] = here

        def against(other: Tensor | None) -> float:
            return float("nan") if other is None else overlap(here, other)

        values: dict[str, np.ndarray | float] = {
            "subspace_eigenvalue": pairs.values.numpy(),
            "subspace_residual": pairs.residuals.numpy(),
            "subspace_products": float(pairs.products),
            "subspace_overlap": np.array([against(last), against(memory.get("before"))]),
            "subspace_cosine": np.full(self.k, np.nan) if last is None else principal_cosines(here, last),
            "gradient_share": _share(here, snapshot.gradient),
        }
        if self.references:
            earlier = [kept.get(f"reference {step}") for step in self.references]
            values["subspace_reference_overlap"] = np.array([against(other) for other in earlier])
        if self.shuffles:
            null = shuffled_overlaps(here, snapshot.problem.sizes, self.shuffles, snapshot.random("subspace shuffles"))
            values |= {"subspace_null": null.mean(), "subspace_null_largest": null.max()}
        return values | self._stored(here), kept

    def _stored(self, vectors: Tensor) -> dict[str, np.ndarray]:
        """Sketches are alike for all steps, seeds and runs, so that any two of one model can be compared."""
        from stepscape.curvature.subspaces import sketch
        from stepscape.training.random import generator

        stored = {}
        if self.sketch:
            stored["subspace_sketch"] = sketch(vectors, self.sketch, generator(0, "subspace sketch")).numpy()
        if self.vectors:
            stored["subspace_vector"] = vectors.cpu().numpy()
        return stored


def _parameters(run: Run) -> int:
    return run.model.parameter_count(run.dataset.input_shape, run.dataset.outputs)


def _share(vectors: Tensor, gradient: Tensor) -> float:
    grad = gradient.double()
    return ((vectors.double() @ grad).square().sum() / grad.square().sum()).item()
