"""Use cases: the one place that sees rows, money and recipes together. Knows no Discord and no torch."""
