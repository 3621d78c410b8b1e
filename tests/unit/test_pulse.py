"""The beats of a worker: they come while it lives, and their end is noticed."""

from pathlib import Path

from jobs.pulse import INTERVAL_S, LOST_AFTER_S, Pulse, start_beating


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def watch(pulse, clock, seconds):
    """Whether a pulse was lost at any time of the next seconds."""
    lost = False
    for _ in range(int(seconds)):
        clock.now += 1
        lost |= pulse.is_lost()
    return lost


def test_a_worker_that_has_not_begun_is_not_lost(tmp_path):
    clock = Clock()
    assert not watch(Pulse(str(tmp_path), clock), clock, 10 * LOST_AFTER_S)


def test_a_pulse_is_lost_when_beats_no_longer_come(tmp_path):
    clock = Clock()
    pulse = Pulse(str(tmp_path), clock)
    for beat in range(5):
        (tmp_path / "_pulse").mkdir(exist_ok=True)
        Path(pulse.path).write_text(str(beat))
        assert not watch(pulse, clock, INTERVAL_S)
    assert not watch(pulse, clock, LOST_AFTER_S - INTERVAL_S)
    assert watch(pulse, clock, 2 * INTERVAL_S)


def test_a_worker_beats_until_it_is_told_to_stop(tmp_path):
    pulse = Pulse(str(tmp_path))
    thread = start_beating(pulse.path, interval_s=0.01)
    while Path(pulse.path).read_text() < "2":
        assert thread.is_alive()
    for _ in range(1000):  # a beat that is being written when its file is removed brings it back
        pulse.end()
        thread.join(0.1)
        if not thread.is_alive():
            return
    raise AssertionError("it beats on")


def test_runs_have_pulses_of_their_own(tmp_path):
    assert Pulse(str(tmp_path)).path != Pulse(str(tmp_path)).path
