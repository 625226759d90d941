"""The store: run files, receipts, datasets. The only room that imports zarr."""
