"""The schema's history. Knows db.models only to compare with it."""
