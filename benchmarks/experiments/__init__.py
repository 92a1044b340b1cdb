"""The experiments that the sources of Mint's recipes made, run again: `dvc repro experiments/dvc.yaml`."""
