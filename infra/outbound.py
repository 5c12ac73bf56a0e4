"""Messages to addresses that somebody has typed: never to where only we can get.

A name is resolved here and its addresses are looked at before the connection is made to one of
them, so that a name cannot lead to the inside, nor change its mind in between. Redirects are not
followed, no proxy is asked, and the answer's body is not read.
"""

import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

CONNECT_SECONDS: Final = 5.0
"""How long a connection may take."""

SECONDS: Final = 15.0
"""How long a message may take as a whole."""

_LEADING_ELSEWHERE: Final = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "64:ff9b::/96",  # NAT64
            "64:ff9b:1::/48",  # the same, of one's own network
            "fec0::/10",  # what one's own network was before fc00::/7
            "::/96",  # IPv4 within IPv6, as it was meant first
            "::ffff:0:0:0/96",  # and for translators
        ),
    )
)
"""Addresses that ``is_global`` has nothing against, and behind which there may be any other."""


class Undelivered(Exception):
    """A message was not taken. ``answered``: somebody was there, and said no."""

    def __init__(self, why: str, *, answered: bool = False) -> None:
        self.answered = answered
        super().__init__(why)


def is_public(address: str) -> bool:
    """Whether an address is one of the open internet, and leads to no other inside of it."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        if ip.sixtofour is not None or ip.teredo is not None:
            return False
        if any(ip in each for each in _LEADING_ELSEWHERE):
            return False
    return ip.is_global and not ip.is_multicast


class Outbound:
    """Posts messages. For any number of threads."""

    def __init__(self, *, private: bool, context: ssl.SSLContext | None = None) -> None:
        """``private`` lets it reach plain http and addresses of one's own network."""
        self._private = private
        self._context = context or ssl.create_default_context()

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Send a message.

        Raises:
            Undelivered: it was not answered with a success.
        """
        try:
            parts = urlsplit(url)
            if parts.scheme != "https" and not self._private:
                raise Undelivered("only https is allowed")
            default = 443 if parts.scheme == "https" else 80
            host, port = parts.hostname or "", parts.port or default
            status = self._status(
                parts.scheme,
                host,
                port,
                parts._replace(scheme="", netloc="").geturl(),
                body,
                headers,
            )
        except Undelivered:
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Undelivered(f"{type(error).__name__}: {error}") from error
        if not 200 <= status < 300:
            raise Undelivered(f"answered {status}", answered=True)

    def _status(
        self,
        scheme: str,
        host: str,
        port: int,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
    ) -> int:
        connection = http.client.HTTPConnection(host, port)
        # A receiver that sends its answer byte by byte must not hold us for ever.
        late = threading.Event()
        timer = threading.Timer(SECONDS, lambda: _cut(connection, late))
        timer.daemon = True
        timer.start()
        try:
            connection.sock = self._connected(scheme, host, port)
            connection.request("POST", path or "/", body, dict(headers))
            status = connection.getresponse().status
        finally:
            timer.cancel()
            connection.close()
        if late.is_set():  # what there is of the answer may look whole
            raise TimeoutError("the answer took too long")
        return status

    def _connected(self, scheme: str, host: str, port: int) -> socket.socket:
        """A connection to one of the addresses that a name stands for, all of which are allowed."""
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [str(each[4][0]) for each in found]
        if not self._private and not all(map(is_public, addresses)):
            raise Undelivered(f"{host} is an address of a private network")
        plain = socket.create_connection((addresses[0], port), CONNECT_SECONDS)
        plain.settimeout(SECONDS)
        if scheme != "https":
            return plain
        try:
            return self._context.wrap_socket(plain, server_hostname=host)
        except BaseException:
            plain.close()
            raise


def _cut(connection: http.client.HTTPConnection, late: threading.Event) -> None:
    late.set()
    connected = connection.sock
    if connected is not None:
        with suppress(OSError):
            connected.shutdown(socket.SHUT_RDWR)


Post = Callable[[str, bytes, Mapping[str, str]], None]
"""How a message is sent: ``Outbound.post``."""
