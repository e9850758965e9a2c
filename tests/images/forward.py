"""A Service: `forward.py ADDRESS PORT TARGET` hands connections to ADDRESS:PORT on to 127.0.0.1:TARGET."""

import asyncio
import sys

ADDRESS, PORT, TARGET = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        return  # one side left; closing tells the other
    finally:
        writer.close()


async def joined(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        there, back = await asyncio.open_connection("127.0.0.1", TARGET)
    except ConnectionError:
        writer.close()
        return
    await asyncio.gather(copy(reader, back), copy(there, writer))


async def main() -> None:
    server = await asyncio.start_server(joined, ADDRESS, PORT)
    await server.serve_forever()


asyncio.run(main())
