"""Programs end at once, with the code they mean, whatever threads of theirs are still at work."""

import subprocess
import sys

import pytest

PROGRAMS = {
    "clip_train": "from clip_train import __main__ as program; program.main = lambda: 3; program.run()",
    "wit400m": "from jobs.__main__ import leave_with; leave_with(lambda: 3)",
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_waits_for_no_thread(program):
    begin = "import threading, time; threading.Thread(target=time.sleep, args=(600,)).start(); print('said')"
    code = f"{begin}; {PROGRAMS[program]}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (3, "said\n", "")


def test_functions_for_the_end_of_training_are_called():
    code = f"import atexit; atexit.register(print, 'closed'); {PROGRAMS['clip_train']}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (3, "closed\n")
