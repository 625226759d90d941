"""A network as a function of one flat vector of parameters, or of one for each of many lanes."""

from __future__ import annotations

from functools import lru_cache
from math import prod

import torch
from torch import Tensor, nn

from stepscape.models import Model
from stepscape.training.random import generator


class Network:
    """A network without parameters of its own.

    Attributes:
        model: what it was built from.
        names: the parameters' names, in the order of the flat vector.
        shapes: their shapes.
        sizes: their numbers of entries, which add up to P.
    """

    def __init__(self, model: Model, input_shape: tuple[int, ...], outputs: int) -> None:
        self.model = model
        self._sizes = (input_shape, outputs)
        self._module = model.build(*self._sizes)
        named = dict(self._module.named_parameters())
        self.names = list(named)
        self.shapes = [tuple(value.shape) for value in named.values()]
        self.sizes = [prod(shape) for shape in self.shapes]
        self._slots = [_emptied(self._module, name) for name in named]
        self._bytes: dict[torch.dtype, int] = {}
        self._drawn = lru_cache(maxsize=8)(self._draw)

    def initial(self, seed: int) -> Tensor:
        """The parameters (P,), float64, that the model draws with a seed; a new tensor each time."""
        return self._drawn(seed).clone()

    def _draw(self, seed: int) -> Tensor:
        module = self.model.build(*self._sizes).double()
        self.model.initialise(module, generator(seed, "initialisation"))
        return torch.cat([value.detach().reshape(-1) for value in module.parameters()])

    def outputs(self, theta: Tensor, inputs: Tensor) -> Tensor:
        """Outputs (n, C) with parameters theta (P,), of inputs (n, *input_shape)."""
        for (owner, name), piece, shape in zip(self._slots, theta.split(self.sizes), self.shapes, strict=True):
            owner.__dict__[name] = piece.view(shape)
        result: Tensor = self._module(inputs)
        return result

    def bytes_a_sample(self, dtype: torch.dtype) -> int:
        """Bytes that a kept graph of the gradient holds for each sample, counted on two and on four blank samples."""
        if dtype not in self._bytes:
            few, many = (self._kept_bytes(count, dtype) for count in (2, 4))
            self._bytes[dtype] = max(1, (many - few) // 2)
        return self._bytes[dtype]

    def _kept_bytes(self, count: int, dtype: torch.dtype) -> int:
        held: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            kept.append(tensor)  # so that no other tensor takes its address
            return tensor

        kept: list[Tensor] = []
        theta = self.initial(0).to(dtype).requires_grad_()
        inputs = torch.zeros(count, *self._sizes[0], dtype=dtype)
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            value = self.outputs(theta, inputs).square().sum()
            torch.autograd.grad(value, theta, create_graph=True)
        return sum(held.values())

    def features(self, theta: Tensor, inputs: Tensor) -> Tensor:
        """What enters the last linear layer, (n, width), with parameters theta (P,), of inputs (n, *input_shape)."""
        seen: list[Tensor] = []
        last = [module for module in self._module.modules() if isinstance(module, nn.Linear)][-1]
        hook = last.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        try:
            self.outputs(theta, inputs)
        finally:
            hook.remove()
        return seen[-1].flatten(1)

    def lane_outputs(self, theta: Tensor, inputs: Tensor) -> Tensor:
        """Outputs (lanes, n, C) with parameters theta (lanes, P), of inputs (lanes, n, *input_shape)."""
        if not self.model.has_lane_form:
            result: Tensor = torch.vmap(self.outputs)(theta, inputs)
            return result
        pieces = zip(self.names, theta.split(self.sizes, dim=1), self.shapes, strict=True)
        return self.model.lane_outputs({name: piece.unflatten(1, shape) for name, piece, shape in pieces}, inputs)


def _emptied(module: nn.Module, path: str) -> tuple[nn.Module, str]:
    """The place of a parameter in its module, made free for plain tensors.

    `torch.func.functional_call` would do this and undo it in every call, which takes as long as a small network itself.

    Args:
        module: the network.
        path: the parameter's name in it.

    Returns:
        The submodule that the parameter belongs to, and its name there.
    """
    owner, _, name = path.rpartition(".")
    holder = module.get_submodule(owner)
    del holder._parameters[name]
    return holder, name


@lru_cache(maxsize=8)
def network_of(model: Model, input_shape: tuple[int, ...], outputs: int) -> Network:
    """The network of a model on data of some shape; one for all who ask."""
    return Network(model, input_shape, outputs)
