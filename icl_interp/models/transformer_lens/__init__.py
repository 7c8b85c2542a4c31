"""Conversions to and from the classes of TransformerLens."""
