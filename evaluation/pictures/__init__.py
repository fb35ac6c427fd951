"""Pictures: `picture` describes a picture as data; only `drawing` makes a PNG of it."""
