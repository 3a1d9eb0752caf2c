"""The decoder process: compressed frames in, stored values out, and nothing else within reach.

Owns the far end of ``decode_pool``. The process is started afresh (no fork), so it holds no association, no database
and no environment of the node. It asks for nothing by name: the node lays each frame into memory that both see, one
byte answers. Whatever a hostile stream makes of the codec ends here, at one of these bounds:

- address space, so that a declared size that nothing stands behind cannot empty the machine's memory;
- CPU seconds of each frame, after which the kernel ends the process;
- no file grows by its hand, and no core file holds pixels;
- the memory killer takes it before it takes the node;
- the end of the node is its end, also in the middle of a frame: standard input is a pipe that nobody ever writes to,
  and the kernel sends SIGIO when its other end closes. (PR_SET_PDEATHSIG would fire when the thread ends that
  started the process, and those threads come and go with each study.)
"""

import fcntl
import json
import math
import mmap
import os
import resource
import select
import signal
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from dicom_node.volumes.decode import Fault, UndecodablePixels, decompressed
from dicom_node.volumes.stored_pixels import PixelLayout

READY = 0
"""First answer of a process, before any request."""
DECODED = 0
"""Answer to a request: the stored values lie in the shared memory. Any other is a ``Fault``."""
REQUEST_BYTES = 1024
"""A request is far shorter."""
_OPEN_FILES = 32
"""Codecs are loaded from files when they are first needed."""
_FIRST_FOR_THE_MEMORY_KILLER = "500"
"""Half of the machine's memory is added to what this process seems to hold (proc(5), oom_score_adj)."""
_LIFELINE = 0
"""Standard input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRequest:
    """One frame to decode: ``encoded_bytes`` from the start of the shared memory, whose first bytes it becomes."""

    transfer_syntax_uid: str
    layout: PixelLayout
    encoded_bytes: int
    shared_bytes: int
    """Size of the shared memory; it grows, never shrinks."""

    def packed(self) -> bytes:
        """As it goes to the process."""
        return json.dumps(asdict(self)).encode()

    @staticmethod
    def unpacked(message: bytes) -> "FrameRequest":
        """The other way."""
        fields = json.loads(message)
        return FrameRequest(**{**fields, "layout": PixelLayout(**fields["layout"])})


def serve(channel_descriptor: int, memory_descriptor: int, memory_mb: int, cpu_s: int) -> None:
    """Answer requests until the node closes its end.

    ``memory_mb`` is the address space that it may take beyond the bare process, the shared memory included; ``cpu_s``
    is for each frame.
    """
    _end_with_the_node()
    _take_little(memory_mb)
    channel = socket.socket(fileno=channel_descriptor)
    channel.send(bytes([READY]))
    shared: mmap.mmap | None = None
    while message := channel.recv(REQUEST_BYTES):
        request = FrameRequest.unpacked(message)
        _grant_cpu_time(cpu_s)
        try:
            if shared is None or len(shared) < request.shared_bytes:
                shared = None  # the address space of both together may be more than is allowed
                shared = mmap.mmap(memory_descriptor, request.shared_bytes)
            _decode(request, shared)
        except UndecodablePixels as error:
            answer = int(error.fault)
        except (MemoryError, OSError):
            answer = int(Fault.TOO_MUCH_MEMORY)
        else:
            answer = DECODED
        channel.send(bytes([answer]))


def _decode(request: FrameRequest, shared: mmap.mmap) -> None:
    layout = request.layout
    stored = decompressed(shared[: request.encoded_bytes], layout, request.transfer_syntax_uid)
    target = np.frombuffer(shared, dtype=stored.dtype, count=layout.rows * layout.columns)
    target.reshape(layout.rows, layout.columns)[...] = stored


def _end_with_the_node() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        # They reach the whole group; the node decides when its decoders end, or a study would lose its result.
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(_LIFELINE, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(_LIFELINE, fcntl.F_SETFL, fcntl.fcntl(_LIFELINE, fcntl.F_GETFL) | os.O_ASYNC)
    closed_before = select.poll()
    closed_before.register(_LIFELINE, select.POLLIN)
    if closed_before.poll(0):
        raise SystemExit


def _take_little(memory_mb: int) -> None:
    with suppress(OSError):  # a sandbox may hide it; the other bounds stand
        Path("/proc/self/oom_score_adj").write_text(_FIRST_FOR_THE_MEMORY_KILLER)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    address_space = pages * mmap.PAGESIZE + memory_mb * 1024 * 1024
    for kind, most in (
        (resource.RLIMIT_AS, address_space),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))


def _grant_cpu_time(seconds: int) -> None:
    """The kernel counts from the start of the process; at the soft limit SIGXCPU ends it."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time()) + seconds, hard))
