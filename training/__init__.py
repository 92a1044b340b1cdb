"""Mint's training side: images -> preprocess -> train -> export -> evaluate, one module a stage."""

import os

PARENT_PID = os.getppid()  # what started this process, noted before the seconds in which torch is loaded
