"""Audio that no corpus holds: where it lies, how it is cut, how answers are written down."""
