"""Training pipeline: images -> preprocess -> train -> export -> evaluate, one module per stage."""

import os

PARENT_PID = os.getppid()  # read at once: importing torch takes seconds, in which the parent may exit
