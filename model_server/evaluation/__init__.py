"""What tests, benchmarks and training measure with: generated audio, metrics, tables."""
