"""Ctrl-C while processes are started."""

import os
import signal
import threading
import time

import pytest

from earmark.parallel.interrupts import held_back, sigterm_as_interrupt


@pytest.mark.parametrize("n_threads", [0, 1])
def test_a_ctrl_c_waits_until_a_process_is_started(n_threads):
    """Also with other threads, which do not hold the signal back."""
    is_over, handler = threading.Event(), signal.getsignal(signal.SIGINT)
    threads = [threading.Thread(target=is_over.wait) for _ in range(n_threads)]
    for thread in threads:
        thread.start()
    seen = ""
    try:
        with pytest.raises(KeyboardInterrupt):
            with held_back():
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.1)  # in which it would come through
                seen = "before it"
            time.sleep(300)  # another thread may have received it but not run yet
    finally:
        is_over.set()
    assert seen and signal.getsignal(signal.SIGINT) is handler


def test_each_signal_calls_its_own_handler(wait_until):
    heard = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        with held_back((signal.SIGINT, signal.SIGTERM)):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.05)  # in which it would come through
            assert heard == []
        wait_until(lambda: heard)
        assert heard == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_sigterm_is_an_interrupt_in_a_block():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), sigterm_as_interrupt():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before
