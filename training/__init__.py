"""Mint's training side: images -> preprocess -> train -> export -> evaluate, one module a stage."""
