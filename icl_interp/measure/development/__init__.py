"""How all measures develop over the checkpoints of runs."""
