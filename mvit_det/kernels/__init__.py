"""How a CPU computes matrix products and attention; the networks call them as plain functions."""
