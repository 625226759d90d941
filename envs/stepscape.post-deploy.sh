#!/usr/bin/env bash
# Snakemake runs this in the conda environment it has just made of stepscape.yaml, from the folder it was started in.
# An editable install: the environment outlives a change of the code, and must not keep the code of the day it was made.
set -euo pipefail
if ! grep -qs '^name = "stepscape"' pyproject.toml; then
  echo "stepscape: start snakemake in the root of the checkout; $PWD has no Stepscape to install" >&2
  exit 1
fi
python -m pip install --no-deps --no-build-isolation --editable .
