"""Training: one process a pack. Knows no member by name."""
