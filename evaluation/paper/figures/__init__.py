"""Pictures as data (`picture`), made from readings (`builders`, `clients`), put on paper by `drawing`."""
