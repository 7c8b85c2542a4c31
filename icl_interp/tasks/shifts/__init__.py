"""How prompts leave the training distribution."""
