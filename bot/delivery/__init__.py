"""How a job looks in its channel: its texts, its progress, its result."""
