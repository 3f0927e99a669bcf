"""Generated data sets for the quickstarts and for tests."""
