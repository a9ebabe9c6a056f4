"""Makes the weights that `engines/embedded` ships: `python -m model_server.training`."""
