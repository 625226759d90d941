"""Figures as files."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing


def rendered(figure: Drawing, ending: str) -> bytes:
    """A figure as `svg` or `png`, without a clock: the same figure gives the same bytes."""
    import matplotlib as mpl

    from stepscape.figures._style import style

    buffer = io.BytesIO()
    with style(), mpl.rc_context():
        figure.savefig(buffer, format=ending, metadata={"Date": None} if ending == "svg" else {"Software": None})
    return buffer.getvalue()
