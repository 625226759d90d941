"""A study's results as one file: made, checked, read in place, and laid out again."""
