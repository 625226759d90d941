"""Benchmarks: Stepscape side by side with other packages. Run by hand, never by the tests' clock."""
