"""What a person sees while Snakemake trains: runs done, runs to go, time left, and why something failed.

The Snakefile calls `announce` once its plan is made; the logger plugin `stepscape` shows the rest. Nothing here imports
torch, xarray or zarr, because every invocation of Snakemake loads it.
"""

from stepscape.progress.expected import Expected, RunFile, announce, announced, expect

__all__ = ["Expected", "RunFile", "announce", "announced", "expect"]
