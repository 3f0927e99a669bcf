"""Detection data in COCO format: annotations, images, mapper, crops."""
