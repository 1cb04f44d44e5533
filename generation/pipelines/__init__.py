"""diffusers checkpoints: which ones we know, how they load, which stay resident."""
