"""Implementations of `generation.backend.Backend`. Importing this package costs no torch; `local` does."""
