"""One file per command: parse, build the named objects, call what does the work."""
