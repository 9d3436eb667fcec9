"""The server in a separate process."""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}


@contextlib.contextmanager
def server(saved_model, *flags):
    """Runs `glow serve` on a free port, and ends it with SIGTERM, on which it must exit cleanly.

    Yields:
      The process, its port, and the line that it printed at startup.
    """
    command = [sys.executable, "-m", "tools.serve", f"--saved_model={saved_model}", "--port=0", *flags]
    process = subprocess.Popen(
        command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
        if not found:
            raise AssertionError(process.communicate(timeout=60)[1][-3000:])
        yield process, int(found[1]), line
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err[-3000:]
        assert "Traceback" not in err, err[-3000:]
        assert out == ""
    finally:
        process.kill()
        process.wait()
