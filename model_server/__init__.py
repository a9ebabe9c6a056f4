"""Earshot's local model service: microphones in, sound events and commands out."""

import os

__version__ = "0.1.0"

# Since 1.29 onnxruntime reports to its maker unless this is set before it is imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
