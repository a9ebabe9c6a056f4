"""The main job in one command: a whole house on loopback, spoken and sounded to."""
