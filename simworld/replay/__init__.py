"""Replay of scenarios in real and imagined worlds, and what would have happened otherwise."""
