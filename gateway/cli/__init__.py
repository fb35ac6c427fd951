"""The commands of `vtc-gateway`: `commands` parses each, and the module of its name carries it out."""
