"""The tests mirror the packages: tests/serving, tests/training."""
