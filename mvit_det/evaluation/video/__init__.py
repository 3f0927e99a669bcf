"""Accuracy of videos, averaged over their test views."""
