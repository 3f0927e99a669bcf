"""Draw boxes, masks, people and labels onto images, and figures."""
