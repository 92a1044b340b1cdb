"""Training data: sources, decoding, the prepared arrays and their batches."""
