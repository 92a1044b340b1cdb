"""Benchmark of the doctor: how often its diagnosis of a run is right, and what healing gains."""
