"""Decoders with softmax attention."""
