"""Inference and serving: images from an ONNX generator, over HTTP or on the command line.

Nothing here imports torch or `training`; import-linter checks this in `make lint`.
"""

import os

# ONNX Runtime reports usage unless this is set before its import; Mint sends nothing anywhere.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
