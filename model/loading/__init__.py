"""Batches on their way to the device: ahead of the step by a thread, or kept where they are used."""
