"""`python -m abdoseg`, also what torchrun starts."""

from abdoseg.cli import main

if __name__ == "__main__":
    main()
