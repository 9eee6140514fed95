"""`python -m vicreg_fast`, the same as `vicreg-fast`."""

from vicreg_fast.cli import main

if __name__ == "__main__":
    main()
