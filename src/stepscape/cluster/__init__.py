"""Clusters: what a site wants, what SLURM offers, and how much of it a pack is given.

Snakemake and its SLURM plugin submit and follow the jobs; what they are told stands in `workflow/profiles/slurm`.
Nothing here imports torch.
"""
