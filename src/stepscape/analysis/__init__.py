"""Analysis: fits, intervals and derived quantities, in one place for all claims and figures."""
