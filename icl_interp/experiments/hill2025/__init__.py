"""Hill, Eyre and Creager (2025), Transformers Don't In-Context Learn Least Squares Regression; start at paper.py."""
