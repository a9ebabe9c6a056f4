"""Earshot's local model service: microphones in, sound events and commands out."""

import os

__version__ = "0.1.0"

# Before anything is imported that would otherwise report to its maker: onnxruntime does
# since 1.29, and huggingface_hub tells with each download which packages are installed.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
