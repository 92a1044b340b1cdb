"""Training pipeline: images -> preprocess -> train -> export -> evaluate, one module a stage."""

import os

PARENT_PID = os.getppid()  # of this process, read before the seconds that importing torch takes
