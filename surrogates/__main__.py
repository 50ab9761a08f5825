"""`python -m surrogates` is the command `surrogates`."""

import sys

from surrogates.cli import main

sys.exit(main())
