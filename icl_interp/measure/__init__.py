"""The questions that people ask of a model: run it on prompts, hand activations to probes, compare with controls."""
