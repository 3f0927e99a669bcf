"""Frames of videos by frame index and by time, out of files or folders of frames."""
