"""Floor 3: the commands. Thin, and the only place that prints."""
