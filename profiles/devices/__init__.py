"""Places to measure: one file each."""
