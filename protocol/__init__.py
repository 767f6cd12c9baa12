"""The mesh protocol: pure values and engines. No sockets, no disks, no clock, no randomness of its own."""
