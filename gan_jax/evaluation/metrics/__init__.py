"""Sample quality metrics: pure functions of arrays, one file per family."""
