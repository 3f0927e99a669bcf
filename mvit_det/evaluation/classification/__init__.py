"""Top-1 and top-5 accuracy: tables, plots, files."""
