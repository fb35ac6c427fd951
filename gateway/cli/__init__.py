"""The commands of `vtc-gateway`: `commands` parses a command line, and the module with the command's name runs it."""
