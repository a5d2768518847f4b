"""``python -m pys_multi_tools.cli`` is ``pys-multi``."""

import sys

from pys_multi_tools.cli import main

if __name__ == "__main__":
    sys.exit(main())
