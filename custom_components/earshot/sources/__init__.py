"""Where PCM comes from: one small file per kind of microphone."""
