"""`python -m backend`: the same commands as `vtc-backend`."""

from backend.cli import main

if __name__ == "__main__":
    main()
