"""Image classification data: class folders, tar files, augmentation."""
