"""What the engine is worth, measured against what else one could do. See README.md; every benchmark is one command."""
