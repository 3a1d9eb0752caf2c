"""Half of the senders: takes orders as lines of JSON on standard input, and answers each with a line.

``open`` associates, ``send`` sends from all associations at once and says what that took, ``release`` releases them.
A process of its own, because one interpreter's lock is a bottleneck with many associations.
"""

import itertools
import json
import sys
import threading
import time
from typing import Any

from benchmarks.raw_sender import ObjectSender, RawAssociation, Sent, ct_image

ANSWER_S = 60.0
"""For a response: an association waits for its turn behind 63 others."""


class Sender:
    """The associations of this process."""

    def __init__(self, *, port: int, called_ae: str, associations: int, size_px: int) -> None:
        self._associations = [RawAssociation(port, timeout_s=ANSWER_S) for _ in range(associations)]
        for association in self._associations:
            assert association.associate(called_ae=called_ae) == 2
        self._objects = ObjectSender(ct_image(size_px=size_px), maximum_pdu=self._associations[0].maximum_pdu)

    def send(self, *, first: int, share: int) -> dict[str, Any]:
        """``share`` objects from each association at once, numbered from ``first`` on."""
        sent: list[Sent] = []
        threads = [
            threading.Thread(
                target=lambda a, n: sent.append(self._objects.send(a, n)),
                args=(association, range(start, start + share)),
            )
            for association, start in zip(self._associations, itertools.count(first, share), strict=False)
        ]
        started = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ended = time.monotonic()
        assert len(sent) == len(threads), "an association broke off"
        return {
            "started": started,
            "ended": ended,
            "size_bytes": sum(one.size_bytes for one in sent),
            "latencies_s": [latency for one in sent for latency in one.latencies_s],
        }

    def release(self) -> None:
        """Release and close them all."""
        for association in self._associations:
            association.release()
            association.socket.close()


def main() -> None:
    """Until the end of standard input."""
    sender: Sender | None = None
    for line in sys.stdin:
        order = json.loads(line)
        answer: dict[str, Any] = {}
        match order.pop("do"):
            case "open":
                sender = Sender(**order)
            case "send" if sender is not None:
                answer = sender.send(**order)
            case "release" if sender is not None:
                sender.release()
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
