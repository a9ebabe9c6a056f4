"""Engines: what turns audio into results."""
