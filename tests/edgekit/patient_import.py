"""A framework whose import ends when a file appears."""

from __future__ import annotations

import os
import time
from pathlib import Path

while not Path(os.environ["RELEASE_OF_PATIENT_IMPORT"]).exists():
    time.sleep(0.01)
