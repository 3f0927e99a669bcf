"""Images with a class each: folders, tar files, augmentation."""
