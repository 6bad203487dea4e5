"""A source read in a thread: its blocks in order, its end, and its errors."""

from contextlib import closing
from threading import Event

import numpy as np
import pytest

from earmark.errors import AudioError
from earmark.listening.reader import Block, Ended, Opened, Reader


class Source:
    sample_rate, n_channels = 1000, 1

    def __init__(self, *blocks, error=None, wait=None):
        self._blocks, self._error, self._wait = list(blocks), error, wait
        self.is_closed = False

    def read(self):
        if self._wait is not None:
            self._wait.wait()
        if self._blocks:
            return self._blocks.pop(0)
        if self._error is not None:
            raise self._error
        return None

    def close(self):
        self.is_closed = True


def items(reader):
    found = []
    while not isinstance(item := reader.next(), Ended):
        found += [] if item is None else [item]
    return found, item


@pytest.mark.parametrize("error", [None, AudioError("radio: closed")])
def test_blocks_come_in_order_and_then_the_end(error):
    source = Source(*(np.full((1, 4), n, np.float32) for n in range(100)), error=error)
    with closing(Reader(lambda: source, clock=lambda: 7.0)) as reader:
        (opened, *blocks), ended = items(reader)
    assert opened == Opened(1000, 1) and ended.error is error and source.is_closed
    assert [float(block.samples[0, 0]) for block in blocks] == list(range(100))
    assert all(isinstance(block, Block) and block.time == 7.0 for block in blocks)


def test_a_source_that_cannot_be_opened_is_the_end():
    def fail():
        raise AudioError("radio: nobody answers")

    with closing(Reader(fail)) as reader:
        found, ended = items(reader)
    assert found == [] and "nobody answers" in str(ended.error)


def test_a_source_that_cannot_be_closed_has_ended():
    release = Event()

    class Stuck(Source):
        def close(self):
            release.wait()

    with closing(Reader(lambda: Stuck(error=AudioError("microphone: gone")))) as reader:
        found = [reader.next()]
        while not isinstance(found[-1], Ended) and found.count(None) < 100:
            found.append(reader.next())
        release.set()
    assert isinstance(found[-1], Ended) and "gone" in str(found[-1].error)


def test_a_source_that_never_answers_does_not_keep_the_reader_from_closing():
    release = Event()
    with closing(Reader(lambda: Source(wait=release))) as reader:
        while (first := reader.next()) is None:
            pass
        assert isinstance(first, Opened)
        assert reader.next() is None
    release.set()
