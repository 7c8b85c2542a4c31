"""Zhang, Wu and Bartlett (2024), In-Context Learning of a Linear Transformer Block; start at paper.py."""
