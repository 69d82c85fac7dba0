"""What several methods are made of: each a piece of configuration and what it decides."""
