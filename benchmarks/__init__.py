"""What docs/benchmarks.md quotes, each a command: python -m benchmarks.NAME."""
