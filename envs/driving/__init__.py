"""The driving simulator on MuJoCo."""

import os
import sys

# Read by mujoco at its first import: without a display render through EGL. Mesa's software rasteriser would start a
# thread per core, which costs more than it gains at this picture size.
if sys.platform == "linux" and "DISPLAY" not in os.environ:
    os.environ.setdefault("MUJOCO_GL", "egl")
    os.environ.setdefault("LP_NUM_THREADS", "0")
