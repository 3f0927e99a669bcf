"""Boxes, masks, people and labels drawn onto pictures, and figures."""
