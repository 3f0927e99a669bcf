"""Videos with a class each: folders and published lists, clips, augmentation."""
