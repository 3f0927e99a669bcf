"""Custom data in one command: data sets, classes and schedule of any config."""
