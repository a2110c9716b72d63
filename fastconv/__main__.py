"""``python -m fastconv``: the command of that name."""

import sys

from fastconv.cli import main

sys.exit(main())
