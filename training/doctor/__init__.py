"""Doctor of a training run: measurements in, a diagnosis with its evidence and a remedy out. No files, no torch."""
