"""Decoding of video frames by frame index and by time, from files or folders of frames."""
