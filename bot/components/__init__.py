"""Buttons and views. Their whole state is in the custom_id, so they outlive restarts."""
