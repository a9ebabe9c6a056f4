"""The default engine: small, on the CPU, no download."""
