"""How matrix products, attention and windows are computed; networks call them as functions."""
