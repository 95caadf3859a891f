"""The driving simulator on MuJoCo."""
