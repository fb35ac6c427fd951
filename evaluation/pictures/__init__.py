"""Pictures: `picture` says as data what is to be seen, `drawing` alone makes a PNG of it."""
