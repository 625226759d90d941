"""Stepscape maps how neural networks train."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stepscape.store.collect import open_study
    from stepscape.store.runfile import open_run
    from stepscape.study.spec import load_study

__version__ = "0.1.0"
__all__ = ["load_study", "open_run", "open_study"]

_HOMES = {"load_study": "study.spec", "open_run": "store.runfile", "open_study": "store.collect"}


def __getattr__(name: str) -> Any:
    """Imports the public functions when they are asked for: Snakemake parses its rules in every job."""
    if name in _HOMES:
        return getattr(import_module(f"stepscape.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
