"""`python -m gshare.cli` is `gshare`."""

from gshare.cli.main import main

if __name__ == "__main__":
    main()
