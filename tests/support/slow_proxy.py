"""A TCP proxy that delays what passes it, in user space: `python -m tests.support.slow_proxy`.

    LISTEN_HOST TARGET_HOST DELAY_S PORT...

Every byte is passed on DELAY_S after it came, in order, in both directions; a connection that one side
closes is closed on the other when all before has passed. It prints `ready`, and runs until it is ended.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress

_READ_BYTES = 1 << 16
_WAITING = 256  # Reads that are held for one direction; then the sender has to wait, as on any full line.


async def _carry(source: asyncio.StreamReader, target: asyncio.StreamWriter, delay_s: float) -> None:
    """Pass on what `source` gives, later."""
    clock = asyncio.get_running_loop().time
    held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_WAITING)

    async def take() -> None:
        read = b"?"
        while read:
            try:
                read = await source.read(_READ_BYTES)
            except OSError:
                read = b""
            await held.put((clock() + delay_s, read))

    async def give() -> None:
        while True:
            due, read = await held.get()
            await asyncio.sleep(max(0.0, due - clock()))
            if not read:
                break
            target.write(read)
            await target.drain()
        if target.can_write_eof():
            target.write_eof()

    with suppress(OSError):
        async with asyncio.TaskGroup() as both:
            both.create_task(take())
            both.create_task(give())


async def _serve(listen: str, target: str, delay_s: float, ports: list[int]) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = writer.get_extra_info("sockname")[1]
        try:
            there, back = await asyncio.open_connection(target, port)
        except OSError:
            writer.close()
            return
        try:
            await asyncio.gather(_carry(reader, back, delay_s), _carry(there, writer, delay_s))
        except ExceptionGroup:  # One side is gone; so is the connection.
            pass
        finally:
            back.close()
            writer.close()

    for port in ports:
        await asyncio.start_server(connected, listen, port)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    _listen, _target, _delay, *_ports = sys.argv[1:]
    asyncio.run(_serve(_listen, _target, float(_delay), [int(port) for port in _ports]))
