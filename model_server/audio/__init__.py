"""PCM in, features out."""

SAMPLE_RATE = 16_000
"""Hz; the one rate on the wire and in every engine."""
