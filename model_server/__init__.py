"""Earshot's local model service: microphones in, sound events and commands out."""

__version__ = "0.1.0"
