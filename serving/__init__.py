"""Mint's serving side: an ONNX generator becomes images, over HTTP or on the command line.

Nothing here imports torch or `training`; the line is held by import-linter in `make lint`.
"""

import os

# ONNX Runtime reports usage unless told otherwise before it is imported; Mint never talks to anyone unasked.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
