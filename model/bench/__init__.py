"""The benchmark: all ordered pairs of corpora, by tasks, methods and seeds, and what comes of them."""
