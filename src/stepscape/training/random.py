"""Random numbers: every one comes from a generator keyed by (seed, purpose, step), never from global state."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, purpose: str, step: int = 0) -> np.random.Generator:
    """The generator of one purpose at one step.

    Philox is counter-based: its stream is a function of the key alone, on every machine. Draw in float64 and cast.

    Args:
        seed: the run's seed, or a dataset's.
        purpose: what is drawn, such as `initialisation` or `batches`; different purposes are independent.
        step: the step or epoch it is drawn for.

    Returns:
        A generator at the start of its stream.
    """
    digest = hashlib.sha256(f"{purpose}/{seed}/{step}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(digest[:16], dtype="<u8")))
