"""Where the server runs beyond one process: Ray Serve, a container, Home Assistant."""
