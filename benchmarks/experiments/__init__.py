"""Experiments of the source tutorials, reproduced: `dvc repro experiments/dvc.yaml`."""
