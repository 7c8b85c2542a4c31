"""Models built on TransformerLens hooks, and their configuration."""
