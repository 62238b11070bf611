"""Stable Diffusion through the library diffusers, outside any WebUI."""
