"""Where the real scans lie, beside the repository; tests that use them skip when they are absent."""

from pathlib import Path

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
