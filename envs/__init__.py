"""Real simulators; what they all need said to the graphics library is said here, before any of them loads it."""

import os
import sys

# Without a display MuJoCo must be told, before its import, to render through EGL. Mesa's software rasteriser starts
# a thread per core, which for small frames costs more than it gains (76 instead of 130 steps/s) and leaves a forked
# process, such as those of gymnasium's AsyncVectorEnv, waiting for threads that it does not have.
if sys.platform == "linux":
    if "DISPLAY" not in os.environ:
        os.environ.setdefault("MUJOCO_GL", "egl")
    os.environ.setdefault("LP_NUM_THREADS", "0")
