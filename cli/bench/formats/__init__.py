"""Forms of a table of a benchmark, one file each."""
