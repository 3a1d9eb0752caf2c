"""The parts of ``benchmarks.receive`` and of the other benchmarks of the Storage SCP: servers, senders, what they cost.

Servers and senders are processes of their own: neither takes the interpreter, or the processor time, of the other.
"""
