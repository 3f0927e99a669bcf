"""Accuracy on videos, averaged over their test views."""
