"""Command `emodna-cache`: look at, compare, export and clean feature stores."""
