"""Activations: what stands between layers, by its name in a study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import nn

Activation = Literal["tanh", "relu", "elu", "gelu", "softplus"]
"""tanh; relu, max(0, x), whose second derivative counts as 0 everywhere; elu, x where x > 0 and e^x - 1 elsewhere;
gelu, x Phi(x) with the normal distribution function itself; softplus, log(1 + e^x)."""


def activation_layer(name: Activation) -> nn.Module:
    """The layer of an activation."""
    from torch import nn

    made = {"tanh": nn.Tanh, "relu": nn.ReLU, "elu": nn.ELU, "gelu": nn.GELU}
    # PyTorch's softplus is x above a threshold: 20 by default, where float64 still sees the difference.
    return nn.Softplus(threshold=50) if name == "softplus" else made[name]()
