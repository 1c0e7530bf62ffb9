"""``python -m tcsql`` is ``tcsql``."""

import sys

from tcsql.cli import main

sys.exit(main())
