"""COCO data sets: their annotations, images, and what a detector trains on."""
