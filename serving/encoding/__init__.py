"""Encoding: pixel arrays to PNG, JPEG, WebP, GIF, ZIP and NumPy files."""
