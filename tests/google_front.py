"""Google's front end on loopback: clients reach emulators as in production, by name, over TLS, with call credentials.

`grpc_proxy` sends gRPC here, and `GRPC_DEFAULT_SSL_ROOTS_FILE_PATH` has it trust the certificate; both are gRPC's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PUBSUB, STORAGE = "pubsub.googleapis.com", "bigquerystorage.googleapis.com"


def _certificate(folder: Path) -> Path:
    """A file with a key and its certificate for both names, which signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(PUBSUB), x509.DNSName(STORAGE)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "front.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return file


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.close()


async def _join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int) -> None:
    with contextlib.suppress(OSError):
        far_reader, far_writer = await asyncio.open_connection(host, port)
        await asyncio.gather(_pipe(reader, far_writer), _pipe(far_reader, writer))
    writer.close()


class _Front:
    def __init__(self, certificate: Path, backends: Mapping[str, str]) -> None:
        self._backends, self._ports = backends, dict[str, int]()
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(certificate)
        self._tls.set_alpn_protocols(["h2"])

    async def start(self) -> int:
        """The port of the proxy."""
        for name, address in self._backends.items():
            host, _, port = address.rpartition(":")

            async def serve(
                reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str = host, port: int = int(port)
            ) -> None:
                await _join(reader, writer, host, port)

            server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=self._tls)
            self._ports[name] = server.sockets[0].getsockname()[1]
        proxy = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        return int(proxy.sockets[0].getsockname()[1])

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            head = await reader.readuntil(b"\r\n\r\n")
            name = head.split(b" ")[1].decode().partition(":")[0]
            if (port := self._ports.get(name)) is not None:
                writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
                await _join(reader, writer, "127.0.0.1", port)
        writer.close()


@contextmanager
def google_front(folder: Path, backends: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Serve these names, each by the plain gRPC server at its address. Gives what a client's environment needs."""
    certificate = _certificate(folder)
    front, loop = _Front(certificate, backends), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        port = asyncio.run_coroutine_threadsafe(front.start(), loop).result(10)
        yield {
            "grpc_proxy": f"http://127.0.0.1:{port}",
            "no_grpc_proxy": "127.0.0.1",
            "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(certificate),
        }
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
