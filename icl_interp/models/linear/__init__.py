"""Linear self-attention and the linear transformer block."""
