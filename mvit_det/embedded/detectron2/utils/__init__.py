"""Process communication, events, logging, files and other services shared by all of the host."""
