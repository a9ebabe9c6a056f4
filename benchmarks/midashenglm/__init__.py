"""Speed of MiDashengLM beside the audio path of Qwen2.5-Omni, on one decoder."""
