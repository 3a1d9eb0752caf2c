"""The least that a server can do: reads, throws away, answers success. How fast the senders are when nobody is slow.

A process an association. Takes a port; ends with SIGTERM.
"""

import os
import signal
import socket
import struct
import sys

from benchmarks.raw_sender import COMMAND, LAST, command_set, p_data
from dicom_node.association.pdus import HEAD, HEAD_BYTES, ContextAnswer, decode_associate_rq, encode_associate_ac
from dicom_node.association.upper_layer import PduKind
from dicom_node.settings import ScpSettings

RELEASED = HEAD.pack(PduKind.RELEASE_RP, 4) + bytes(4)
STORED = p_data(
    1,
    COMMAND | LAST,
    command_set(
        {
            number: struct.pack("<H", value)
            for number, value in {0x0100: 0x8001, 0x0120: 1, 0x0800: 0x0101, 0x0900: 0}.items()
        }
    ),
)
"""A C-STORE response with status 0x0000 (PS3.7 table 9.3-2), to whichever message."""
BUFFER_BYTES = 256 * 1024


class Connection:
    """One association."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._view = memoryview(bytearray(BUFFER_BYTES))

    def run(self) -> None:
        """Until the peer releases, or leaves."""
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while head := self._take(HEAD_BYTES):
            kind, length = HEAD.unpack(head)
            if kind == PduKind.ASSOCIATE_RQ:
                request = decode_associate_rq(bytes(self._take(length)))
                accepted = [
                    ContextAnswer(context_id=one.context_id, result=0, transfer_syntax=one.transfer_syntaxes[0])
                    for one in request.contexts
                ]
                maximum_pdu = ScpSettings().maximum_pdu_bytes
                self._socket.sendall(encode_associate_ac(request, accepted, maximum_pdu=maximum_pdu))
            elif kind == PduKind.P_DATA_TF:
                control = self._take(6)[5]
                self._skip(length - 6)
                if control == LAST:
                    self._socket.sendall(STORED)
            else:
                self._socket.sendall(RELEASED)
                return

    def _take(self, count: int) -> memoryview:
        """So many bytes; none where the peer has left."""
        taken = 0
        while taken < count:
            got = self._socket.recv_into(self._view[taken:count])
            if not got:
                return self._view[:0]
            taken += got
        return self._view[:count]

    def _skip(self, count: int) -> None:
        while count and (got := self._socket.recv_into(self._view[: min(count, BUFFER_BYTES)])):
            count -= got


def serve(port: int) -> None:
    """Accept for ever."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    with socket.create_server(("127.0.0.1", port), backlog=128) as listener:
        while True:
            connection, _ = listener.accept()
            with connection:
                if os.fork() == 0:
                    Connection(connection).run()
                    os._exit(0)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
