"""The driving simulator on MuJoCo."""

import os

os.environ.setdefault("MUJOCO_GL", "egl")  # read by mujoco at its first import; needs neither display nor GPU
