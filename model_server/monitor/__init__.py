"""Sounds: from a stream to sound events."""
