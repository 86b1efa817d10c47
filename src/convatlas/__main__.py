"""`python -m convatlas` is `convatlas`."""

import sys

from convatlas.cli import main

if __name__ == "__main__":
    sys.exit(main())
