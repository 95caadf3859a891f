"""Scenarios on MuJoCo: their road, their actors and what happens when these meet."""
