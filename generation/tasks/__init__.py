"""From a recipe to a pipeline call, and from its latents to finished pictures."""
