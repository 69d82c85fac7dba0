"""emodna-bench: the paper's tables and figures."""
