"""MiDashengLM in this process: one model that hears speech, sounds and music."""
