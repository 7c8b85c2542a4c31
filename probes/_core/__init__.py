"""What several probes share: input checks, streams, decompositions, ridge, ranks."""
