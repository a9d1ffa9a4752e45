"""Times `abdoseg report` on a folder of made-up results, as a whole process: seconds, peak memory and the page's size.

python tests/benchmarks/report.py 10000        (under 20 s and 500 MB)
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main(count: int) -> None:
    sys.path.insert(0, str(Path(__file__).parents[1] / "cohort"))
    from results import write_results

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_results(folder, count, failures=count // 100, reports=count // 2)
        start = time.perf_counter()
        child = subprocess.Popen([sys.executable, "-m", "abdoseg", "report", name], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        seconds, size = time.perf_counter() - start, (folder / "index.html").stat().st_size
    print(f"{count} cases: {seconds:.1f} s, {usage.ru_maxrss / 2**10:.0f} MB, page of {size / 2**20:.0f} MB; {status=}")


if __name__ == "__main__":
    main(int(sys.argv[1]))
