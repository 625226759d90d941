"""Studies: from a YAML file to runs with identities, and to packs. Nothing here imports torch or xarray."""
