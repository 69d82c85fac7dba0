"""The command emodna-runs."""
