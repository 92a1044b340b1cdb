"""Comparison of two models on one page: `make compare`."""
