"""What writing a run file costs: by xarray and zarr, and from the template of its layout. The bytes are the same."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from statistics import median

import numpy as np
import xarray as xr

from stepscape.store.runfile import zipped
from stepscape.store.template import encoded, encoded_by_xarray

EIGENVALUES = 20


def make_dataset(arrays: int, steps: int, seed: int) -> xr.Dataset:
    """A run of `arrays` numbers on (step,) and one array of eigenvalues, all of them noise."""
    random = np.random.default_rng(seed)
    numbers = {f"number_{index}": ("step", random.standard_normal(steps, "float32")) for index in range(arrays)}
    eigenvalues = random.standard_normal((max(steps // 20, 1), EIGENVALUES), "float32")
    held = {**numbers, "eigenvalue": (("measurement", "eigenvalue"), eigenvalues)}
    return xr.Dataset(held, {"step": np.arange(steps)}, {"updates": steps - 1, "status": "completed"})


def milliseconds(encode: Callable[[xr.Dataset], dict[str, bytes]], datasets: Sequence[xr.Dataset]) -> float:
    """Median CPU time of one file's content, without the disk."""
    taken = []
    for ds in datasets:
        started = time.process_time()
        zipped(encode(ds))
        taken.append(time.process_time() - started)
    return 1e3 * median(taken)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the comparison."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run_files", description=__doc__)
    parser.add_argument("--arrays", type=int, default=12, help="numbers recorded every step")
    parser.add_argument("--steps", type=int, default=2000, help="their length")
    parser.add_argument("--files", type=int, default=50, help="files each")
    options = parser.parse_args(arguments)
    datasets = [make_dataset(options.arrays, options.steps, seed) for seed in range(options.files)]
    same = all(zipped(encoded(ds)) == zipped(encoded_by_xarray(ds)) for ds in datasets)
    size = len(zipped(encoded(datasets[0])))
    print(f"{options.arrays + 2} arrays, {options.steps} steps, {size / 1e3:.0f} kB; median of {options.files} files")
    slow, fast = (milliseconds(encode, datasets) for encode in (encoded_by_xarray, encoded))
    print(f"{'by':<12}{'CPU ms':>8}{'ratio':>7}")
    print(f"{'xarray':<12}{slow:>8.2f}{1:>7.2f}")
    print(f"{'template':<12}{fast:>8.2f}{fast / slow:>7.2f}")
    print(f"same bytes: {'yes' if same else 'no'}")


if __name__ == "__main__":
    main()
