"""Mint's serving side: an ONNX generator becomes images, over HTTP or on the command line.

Nothing here imports torch or `training`; the line is held by import-linter in `make lint`.
"""
