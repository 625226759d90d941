"""What observables of single samples share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stepscape.study.run import Run


def coupled(run: Run, what: str = "gradients") -> tuple[str, Any, str] | None:
    """The fault of a run whose samples have no `what` of their own, as with batch normalisation; None of others."""
    if run.model.couples_samples:
        return "model", run.model.name, f"a model whose samples have {what} of their own: no `norm: batch`"
    return None
