"""Durations of the packets of Vorbis, Opus and FLAC in Ogg."""

from typing import Protocol, runtime_checkable

from earmark.audio.flac import block_size


@runtime_checkable
class Codec(Protocol):
    """The clock of a stream."""

    rate: int
    """Ticks of the clock a second."""
    n_headers: int
    """Packets before the sound."""
    delay: int
    """Ticks at the beginning that decoders leave out."""

    def max_duration(self, packet: bytes) -> int:
        """Upper limit of the duration in ticks of each packet on a page that begins with this one."""

    def duration(self, packet: bytes) -> int:
        """Duration in ticks of the next packet."""

    def add_header(self, packet: bytes) -> None:
        """Reads a header packet other than the first."""


class _Opus:
    def __init__(self, head: bytes) -> None:
        self.rate, self.n_headers = 48000, 2
        self.delay = int.from_bytes(head[10:12], "little")

    def add_header(self, packet: bytes) -> None:
        pass

    def duration(self, packet: bytes) -> int:
        # RFC 6716, section 3.1
        if not packet:
            return 0
        form, code = packet[0] >> 3, packet[0] & 3
        n_frames = (1, 2, 2, packet[1] & 63 if len(packet) > 1 else 0)[code]
        if form < 12:
            return n_frames * (480, 960, 1920, 2880)[form & 3]
        return n_frames * ((480, 960)[form & 1] if form < 16 else (120, 240, 480, 960)[form & 3])

    max_duration = duration


class _Vorbis:
    def __init__(self, head: bytes) -> None:
        self.rate, self.n_headers, self.delay = int.from_bytes(head[12:16], "little"), 3, 0
        self._sizes = (1 << (head[28] & 15), 1 << (head[28] >> 4))
        self._modes: list[int] = []
        self._before = 0

    def add_header(self, packet: bytes) -> None:
        """Reads the block size of each mode from the end of the setup header, where the modes stand."""
        bits, n_read = int.from_bytes(packet[-400:], "little"), 0
        at, found, n_modes = bits.bit_length() - 1, [], 0  # the highest bit ends the header
        while at > 50 and n_read < 64:
            # a mode: long or short (1 bit), window and transform (16 bits each, always 0), mapping (8 bits)
            if bits >> (at - 40) & 0xFFFFFFFF or bits >> (at - 8) & 0xFF > 63:
                break
            at -= 41
            found.append(self._sizes[bits >> at & 1])
            n_read += 1
            if (bits >> (at - 6) & 63) + 1 == n_read:
                n_modes = n_read
        self._modes = found[:n_modes][::-1]

    def max_duration(self, packet: bytes) -> int:
        return self._sizes[1] // 2

    def duration(self, packet: bytes) -> int:
        # Vorbis I, section 4.3: blocks overlap by half; bit 0 is 0 in packets of sound
        if not packet or packet[0] & 1 or not self._modes:
            return 0
        mode = packet[0] >> 1 & (1 << (len(self._modes) - 1).bit_length()) - 1
        size = self._modes[min(mode, len(self._modes) - 1)]
        before, self._before = self._before, size
        return (before + size) // 4 if before else 0


class _Flac:
    def __init__(self, head: bytes) -> None:
        self.rate, self.delay = int.from_bytes(head[27:30]) >> 4, 0
        self.n_headers = 1 + int.from_bytes(head[7:9])
        self._largest = int.from_bytes(head[19:21])

    def add_header(self, packet: bytes) -> None:
        pass

    def max_duration(self, packet: bytes) -> int:
        return self._largest

    def duration(self, packet: bytes) -> int:
        return block_size(packet[:20]) or 0


def find_codec(head: bytes) -> Codec | None:
    """The codec of a stream by its first packet; None if libsndfile does not read it."""
    if head.startswith(b"OpusHead") and len(head) >= 19:
        return _Opus(head)
    if head.startswith(b"\x01vorbis") and len(head) >= 30:
        return _Vorbis(head)
    if head.startswith(b"\x7fFLAC") and len(head) >= 51:
        return _Flac(head)
    return None
