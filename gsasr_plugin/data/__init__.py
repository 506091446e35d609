"""Data sets of images at any scale: which files, which crops, in which order."""
