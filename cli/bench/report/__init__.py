"""emodna-bench report: the benchmark as one page that needs nothing but a browser."""
