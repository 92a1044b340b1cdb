"""Inference: ONNX Runtime sessions, the generator and its model card, the registry of models, the batching queue."""
