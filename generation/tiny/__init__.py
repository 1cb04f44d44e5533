"""The embedded model: a small latent diffusion model in ordinary diffusers format, and the scripts that trained it."""
