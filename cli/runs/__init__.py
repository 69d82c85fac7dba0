"""Command `emodna-runs`: list, show and compare runs."""
