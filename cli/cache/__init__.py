"""Command `emodna-cache`: inspect, compare, export and clean feature stores."""
