"""The machine that trains: device, determinism, and the record of what decides the last bits."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path
from typing import Any

import torch

from stepscape.errors import StepscapeError
from stepscape.study.run import Run
from stepscape.training.lanes import lane_mode
from stepscape.training.network import network_of
from stepscape.training.problem import chunk_size


def prepare(device: str) -> torch.device:
    """Chooses the device and makes every operation deterministic.

    Args:
        device: `cpu`, `cuda`, or `auto`: a GPU where there is one.

    Returns:
        The device.

    Raises:
        StepscapeError: a GPU was asked for, or granted by the cluster, and cannot be used.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    granted = os.environ.get("SLURM_JOB_GPUS") or os.environ.get("SLURM_STEP_GPUS")
    usable = torch.cuda.is_available()
    if not usable and (device == "cuda" or (device == "auto" and granted)):
        why = f"the cluster granted GPU {granted}" if granted else "config/config.yaml says `device: cuda`"
        raise StepscapeError(
            f"{why}, but torch {torch.__version__} cannot use a GPU here; mend the installation, or say `device: cpu`"
        )
    if not usable or device == "cpu":
        return torch.device("cpu")  # with one thread every operation is deterministic
    torch.use_deterministic_algorithms(True)  # takes a second, for it loads a compiler
    return torch.device("cuda")


def platform_record(run: Run, device: torch.device) -> dict[str, Any]:
    """What decides the last bits of a run apart from its identity; no host, no clock."""
    return {
        "torch": torch.__version__,
        "device": _device_model(device.type),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "lanes": lane_mode(run, device).name,
        "chunk": _chunk(run, device),
        "dtype": run.dtype,
        "threads": torch.get_num_threads(),
    }


def _chunk(run: Run, device: torch.device) -> int | None:
    """Samples in a chunk of the training set; None where they are in one piece."""
    network = network_of(run.model, run.dataset.input_shape, run.dataset.outputs)
    size = chunk_size(run, network, device)
    return size if size < run.train_size else None


@cache
def _device_model(kind: str) -> str:
    if kind == "cuda":
        return torch.cuda.get_device_name()
    try:
        rows = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        rows = []
    models = (row.partition(":")[2].strip() for row in rows if row.startswith("model name"))
    return next(models, platform.processor() or platform.machine())
