"""The atlas: what the studies found, as pages of Markdown. A table of all claims, and a page a study."""

from __future__ import annotations

from stepscape.atlas.pages import ATLAS, CONFIG, write_atlas

__all__ = ["ATLAS", "CONFIG", "write_atlas"]
