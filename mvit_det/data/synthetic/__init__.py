"""Data sets that are drawn, for the quickstarts and for tests."""
