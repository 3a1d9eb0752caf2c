"""Decoder processes of the node: started when first needed, kept, replaced when one dies.

Owns the near end of ``decode_worker``: which process has which frame, the time it may take, and what its death means.
Frames travel through memory that both sides see (a sealed memfd: no size limit of a container's /dev/shm, nothing
left behind by a crash, and the process cannot shrink it under the node's feet), so nothing is pickled or copied
twice. A death in the middle of a frame is the frame's fault and costs its study the result; it is not tried again,
because a bomb would take its time again. Linux only, as memfd is.
"""

import fcntl
import mmap
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import structlog

from dicom_node.errors import ResourceExhausted
from dicom_node.volumes.decode import Fault, Pixels, UndecodablePixels, uncompressed
from dicom_node.volumes.decode_worker import DECODED, READY, FrameRequest
from dicom_node.volumes.stored_pixels import PixelLayout, StoredPixels

log = structlog.get_logger(__name__)

START_S = 60.0
"""For a process to come up: 0.3 s of processor time, most of it imports, and longer on a busy machine."""
END_S = 10.0
"""For a killed process to be gone, and for the threads that waited for it to say so."""
_GRANULE = 1024 * 1024
"""The shared memory grows in steps of that many bytes."""
_KEPT_BYTES = 64 * 1024 * 1024
"""A process with more shared memory than that (a frame of 4096² is 32 MiB) gives it back after the frame."""
_PROGRAM = "import sys; from dicom_node.volumes.decode_worker import serve; serve(*map(int, sys.argv[1:]))"
_FAULTS = {int(fault): fault for fault in Fault}


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeLimits:
    """What one decoder process may take."""

    memory_mb: int = 1024
    """Address space beyond the bare process. JPEG 2000 of 4096² takes a quarter; CT frames have 512² to 2048²."""
    cpu_s: int = 30
    """A frame. Milliseconds are usual for 512²; JPEG 2000, the slowest, takes 0.7 s for 2048² of noise."""
    wall_s: float = 120.0
    """A frame. Longer than ``cpu_s``, because other work may hold the processors; a stopped process ends here."""


class DecodePool:
    """At most ``workers`` decoder processes, shared by every thread that asks. Close it, or use it in ``with``."""

    def __init__(self, workers: int = 2, limits: DecodeLimits | None = None) -> None:
        self.workers = workers
        self._limits = limits or DecodeLimits()
        self._closed = threading.Event()
        # A place is a process, or None where none has been needed yet; who holds it may use it.
        self._places: queue.LifoQueue[_DecoderProcess | None] = queue.LifoQueue()
        for _ in range(workers):
            self._places.put(None)
        self._running: set[_DecoderProcess] = set()
        self._running_lock = threading.Lock()

    def __enter__(self) -> "DecodePool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def frame(self, pixels: StoredPixels, number: int) -> Iterator[Pixels]:
        """Stored values of a frame (counted from 0), shape (rows, columns), valid within the ``with`` block.

        Raises ``UndecodablePixels``; ``OSError`` where the file cannot be read; ``ResourceExhausted`` where no process
        can be started or the pool is closed: then nothing is said about the pixels.
        """
        encoded = pixels.frame(number)
        if not pixels.encapsulated:
            yield uncompressed(encoded, pixels.layout)
            return
        process = self._taken()
        try:
            yield process.decoded(encoded, pixels.layout, pixels.transfer_syntax_uid)
        except UndecodablePixels as error:
            if self._closed.is_set():
                raise ResourceExhausted("decoding was broken off: the node is stopping") from error
            if not process.usable:
                log.warning(
                    "decoder_process_replaced", sop_instance_uid=pixels.sop_instance_uid, reason=error.fault.words
                )
            raise
        finally:
            self._give_back(process)

    def close(self) -> None:
        """End every process; frames in work end with ``ResourceExhausted``. May be called again."""
        self._closed.set()
        with self._running_lock:
            running = tuple(self._running)
        for process in running:
            process.kill()
        for _ in range(self.workers):
            try:
                place = self._places.get(timeout=END_S)
            except queue.Empty:
                break  # its thread is still busy with the pixels and gives the dead process back itself
            if place is not None:
                self._end(place)
        for _ in range(self.workers):
            self._places.put(None)  # who still waits for a place finds the pool closed

    def _taken(self) -> "_DecoderProcess":
        place = self._places.get()
        try:
            if self._closed.is_set():
                raise ResourceExhausted("decoding was broken off: the node is stopping")
            if place is not None and place.usable:
                return place
            if place is not None:
                self._end(place)  # died while nobody used it
                place = None
            return self._started()
        except BaseException:
            self._places.put(place)
            raise

    def _started(self) -> "_DecoderProcess":
        process = _DecoderProcess(self._limits)
        with self._running_lock:
            self._running.add(process)
        if self._closed.is_set():
            process.kill()
        return process

    def _give_back(self, process: "_DecoderProcess") -> None:
        if process.usable and process.shared_bytes <= _KEPT_BYTES and not self._closed.is_set():
            self._places.put(process)
            return
        self._end(process)
        self._places.put(None)

    def _end(self, process: "_DecoderProcess") -> None:
        with self._running_lock:
            self._running.discard(process)
        process.end()


class _DecoderProcess:
    """One process, its channel and its shared memory. Used by one thread at a time; ``kill`` by any."""

    def __init__(self, limits: DecodeLimits) -> None:
        self._limits = limits
        self._memory = os.memfd_create("pixels", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        fcntl.fcntl(self._memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        self._shared: mmap.mmap | None = None
        self._spoiled = False
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - our own program, no received text in it
                    [
                        sys.executable,
                        *("-I", "-c", _PROGRAM),
                        *map(str, (theirs.fileno(), self._memory, limits.memory_mb, limits.cpu_s)),
                    ],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,  # codecs print what they find in received bytes
                    pass_fds=(theirs.fileno(), self._memory),
                    cwd="/",
                    env=_environment(),
                )
            except OSError as error:
                self._release()
                raise ResourceExhausted(f"no decoder process can be started ({error.strerror})") from error
        self._await_start()

    @property
    def usable(self) -> bool:
        """It lives, and has answered whatever it was asked."""
        return not self._spoiled and self._process.poll() is None

    @property
    def shared_bytes(self) -> int:
        """Size of the shared memory."""
        return 0 if self._shared is None else len(self._shared)

    def decoded(self, encoded: bytes, layout: PixelLayout, transfer_syntax_uid: str) -> Pixels:
        """A view of the shared memory, good until the next call. Raises ``UndecodablePixels``."""
        pixels = layout.rows * layout.columns
        shared = self._shared_of(max(len(encoded), pixels * np.dtype(np.int16).itemsize))
        shared[: len(encoded)] = encoded
        request = FrameRequest(
            transfer_syntax_uid=transfer_syntax_uid,
            layout=layout,
            encoded_bytes=len(encoded),
            shared_bytes=len(shared),
        )
        self._spoiled = True  # until it has answered
        self._await_answer(request)
        self._spoiled = False
        shape = (layout.rows, layout.columns)
        if layout.signed:
            return np.frombuffer(shared, dtype=np.int16, count=pixels).reshape(shape)
        return np.frombuffer(shared, dtype=np.uint16, count=pixels).reshape(shape)

    def kill(self) -> None:
        """End it now; whoever waits for its answer finds that there is none."""
        self._process.kill()

    def end(self) -> None:
        """Kill it and give back everything that it held."""
        self._process.kill()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            log.error("decoder_process_does_not_end", process_id=self._process.pid)
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._release()

    def _release(self) -> None:
        self._channel.close()
        os.close(self._memory)
        if self._shared is not None:
            with suppress(BufferError):  # somebody still looks at it: it goes with the last view
                self._shared.close()
            self._shared = None

    def _shared_of(self, size: int) -> mmap.mmap:
        if self._shared is None or len(self._shared) < size:
            grown = -(-size // _GRANULE) * _GRANULE
            os.ftruncate(self._memory, grown)
            self._shared = mmap.mmap(self._memory, grown)
        return self._shared

    def _await_start(self) -> None:
        self._channel.settimeout(START_S)
        try:
            started = self._channel.recv(1) == bytes([READY])
        except OSError:  # TimeoutError among them
            started = False
        if not started:
            self.end()
            raise ResourceExhausted(f"a decoder process ended at its start (status {self._process.returncode})")
        self._channel.settimeout(self._limits.wall_s)

    def _await_answer(self, request: FrameRequest) -> None:
        """Returns when the stored values are there. Raises ``UndecodablePixels``."""
        try:
            self._channel.send(request.packed())
            answer = self._channel.recv(1)
        except TimeoutError as error:
            raise UndecodablePixels(Fault.TOO_SLOW) from error
        except OSError:  # it died with the request unread
            answer = b""
        if answer == bytes([DECODED]):
            return
        if answer and answer[0] in _FAULTS:
            fault = _FAULTS[answer[0]]
            self._spoiled = fault is Fault.TOO_MUCH_MEMORY  # a codec seldom tidies up after that
            raise UndecodablePixels(fault)
        try:
            status = self._process.wait(END_S)
        except subprocess.TimeoutExpired as error:
            raise UndecodablePixels(Fault.CRASHED) from error
        raise UndecodablePixels(Fault.TOO_SLOW if status == -signal.SIGXCPU else Fault.CRASHED)


def _environment() -> dict[str, str]:
    """No secret of the node's; codecs are single-threaded here, and a linear algebra library reserves nothing."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    return kept | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
