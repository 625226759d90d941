"""Loss, gradient and curvature of each class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stepscape.observables import Observable, Variable
from stepscape.observables._layers import head
from stepscape.observables._samples import coupled
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from stepscape.observables import Memory
    from stepscape.study.run import Run
    from stepscape.training.problem import Problem
    from stepscape.training.snapshot import Snapshot

_SAMPLES = 256  # whose features are held at once, beside a graph for each of them


@member("per_class", source="arXiv:2402.19449, section 3")
class PerClass(Observable):
    """The loss on each class's training samples, and gradient and curvature in that class's weights of the last layer.

    Class c has the weights w_c and the bias of output c: of a linear model all that makes this output. The gradient g_c
    is that of the full training loss in them, and H_cc the diagonal block of its Hessian. As outputs f_ic are linear in
    w_c, tr H_cc = sum over samples i of d2L/df_ic^2 |df_ic/dw_c|^2 exactly: with cross-entropy
    1/n sum p_ic (1 - p_ic) (|h_i|^2 + 1), with what enters the layer h_i and the bias's 1.
    """

    def variables(self, run: Run) -> tuple[Variable, ...]:
        each = (("class",), (run.dataset.outputs,), "float64")
        return (
            Variable("class_share", "share of each class among training samples", *each),
            Variable("class_loss", "mean loss over the training samples of each class", *each),
            Variable("class_gradient_norm", "gradient norm in each class's weights of the last layer", *each),
            Variable("class_hessian_trace", "trace of the Hessian in each class's weights of the last layer", *each),
        )

    def gradients(self, run: Run) -> float:
        own = 0.0 if run.is_full_batch else 1.0
        outputs = run.dataset.outputs
        forward = run.model.multiplications(run.dataset.input_shape, outputs)
        return own + 4.0 + 2.0 * outputs**2 / forward  # a pass through the loss alone for each class

    def fault(self, run: Run) -> tuple[str, Any, str] | None:
        if not run.dataset.has_classes:
            return "dataset", run.dataset.name, "a dataset with classes"
        if fault := coupled(run):
            return fault
        if head(run) is None:
            return "model", run.model.name, "a model that ends in a trained linear layer with a row for each class"
        return None

    def measure(self, snapshot: Snapshot, memory: Memory) -> tuple[Mapping[str, np.ndarray], Memory]:
        import torch

        problem, theta = snapshot.problem, snapshot.theta
        counts = problem.train.targets.double().sum(dim=0)  # (C,)
        with torch.no_grad():
            outputs = problem.outputs(theta, problem.train.inputs)
            losses = problem.run.loss(outputs[:, None], problem.train.targets[:, None])  # (n,), each sample a lane
        of_class = problem.train.targets.double().T @ losses.double()
        traces = _curvature(problem, outputs).double().T @ _squared_rows(problem, theta).double()
        found = {
            "class_share": counts / counts.sum(),
            "class_loss": of_class / counts,
            "class_gradient_norm": _in_rows(problem.run, snapshot.gradient).double().norm(dim=1),
            "class_hessian_trace": traces,
        }
        return {name: values.cpu().numpy() for name, values in found.items()}, memory


def _in_rows(run: Run, theta: Tensor) -> Tensor:
    """The last layer's part of theta (P,), a row a class: its weights and, where there are any, its bias, (C, m)."""
    import torch

    found = head(run)
    assert found is not None, "a fault refuses such runs"
    weight, bias = (theta[place].view(run.dataset.outputs, -1) if place else theta.new_empty(0) for place in found)
    return torch.cat([weight, bias], dim=1) if bias.numel() else weight


def _curvature(problem: Problem, outputs: Tensor) -> Tensor:
    """d2L/df_ic^2 (n, C) of the training loss L, at outputs f (n, C), of which none but c = c' of one sample mix."""
    import torch

    with torch.enable_grad():
        points = outputs.detach().requires_grad_()
        loss = problem.run.loss(points, problem.train.targets)
        (slopes,) = torch.autograd.grad(loss, points, create_graph=True)
        columns = [
            torch.autograd.grad(slopes[:, c].sum(), points, retain_graph=True)[0][:, c] for c in range(points.shape[1])
        ]
    return torch.stack(columns, dim=1)


def _squared_rows(problem: Problem, theta: Tensor) -> Tensor:
    """|df_i0/dw_0|^2 (n,), w_0 the weights and bias of class 0: in a linear layer every class has the same."""
    import torch

    found = head(problem.run)
    assert found is not None, "a fault refuses such runs"
    weight, bias = found
    width = (weight.stop - weight.start) // problem.run.dataset.outputs
    pieces = [slice(weight.start, weight.start + width)]
    pieces += [slice(bias.start, bias.start + 1)] if bias else []

    def first_output(parts: list[Tensor], sample: Tensor) -> Tensor:
        whole, done = [], 0
        for piece, part in zip(pieces, parts, strict=True):
            whole += [theta[done : piece.start], part]
            done = piece.stop
        return problem.outputs(torch.cat([*whole, theta[done:]]), sample[None])[0, 0]

    slopes = torch.func.vmap(torch.func.grad(first_output), in_dims=(None, 0), chunk_size=_SAMPLES)(
        [theta[piece].clone() for piece in pieces], problem.train.inputs
    )
    return torch.stack([slope.square().sum(dim=1) for slope in slopes]).sum(dim=0)
