"""Video classification data: class folders, published lists, sampling, crops, augmentation."""
