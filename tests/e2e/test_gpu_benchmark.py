"""The benchmark for GPUs, as a toy on a CPU: it trains, encodes and prints what it measured."""

import re
import subprocess
import sys


def test_a_toy_is_trained_and_encoded_and_a_peer_that_is_missing_is_told(checkout):
    flags = ["--toy", "--models", "tiny-32", "--rounds", "1", "--steps", "1", "--seconds", "100"]
    peer = ["--peer-python", "/nowhere/python"]
    done = subprocess.run(
        [sys.executable, str(checkout / "benchmarks" / "gpu.py"), *flags, "--variants", "ours"],
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
        cwd=checkout,
    )
    [row] = [line for line in done.stdout.splitlines() if line.startswith("| tiny-32")]
    assert re.fullmatch(r"\| tiny-32 \| ours \| 8 \| \d+\.\d{5} \| \d+ \(\d+ to \d+\) \|.*\| [\d,]+ \|", row)
    missing = subprocess.run(
        [sys.executable, str(checkout / "benchmarks" / "gpu.py"), *flags, *peer, "--variants", "peer"],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        cwd=checkout,
    )
    assert missing.returncode == 2
    assert "peer-python: no such program: '/nowhere/python'" in missing.stderr
