"""COCO's metrics: average precision, confusion matrix, plots, files."""
