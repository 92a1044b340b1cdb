"""Evaluation: feature extractors, metrics and the classifier."""
