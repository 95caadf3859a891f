"""simworld: a camera world model that stands in for a gymnasium environment."""

import gymnasium

__version__ = "0.1.0"

gymnasium.register("simworld/Driving-v0", entry_point="simworld.envs.driving.env:DrivingEnv", max_episode_steps=600)
gymnasium.register("simworld/Carla-v0", entry_point="simworld.envs.carla.env:CarlaEnv", max_episode_steps=600)
gymnasium.register("simworld/Push-v0", entry_point="simworld.envs.push.env:PushEnv", max_episode_steps=200)
gymnasium.register(
    "simworld/World-v0",
    entry_point="simworld.imagine:WorldModelEnv",
    vector_entry_point="simworld.imagine:WorldModelVectorEnv",
)
