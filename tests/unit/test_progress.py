"""The bar that people see on a terminal."""

import io
import sys
import time

import pytest

from jobs.progress import show_progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def wait_for(text, stream):
    for _ in range(1000):
        if text in stream.getvalue():
            return True
        time.sleep(0.01)
    return False


def test_a_bar_shows_how_far_it_is_and_what_else_there_is_to_say(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with show_progress("FetchUnits", 9, lambda: 4, unit="unit", interval_s=0.01, more=lambda: "12 images/s"):
        assert wait_for("12 images/s", terminal)
        assert wait_for("4/9", terminal)


def test_where_no_terminal_is_nothing_is_shown_or_asked(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with show_progress("FetchUnits", 9, lambda: pytest.fail("asked"), unit="unit", more=lambda: pytest.fail("asked")):
        pass
    assert not sys.stderr.getvalue()
