"""Messages go to the open internet only, and nowhere that a name leads to behind our back."""

import http.server
import socket
import threading
from typing import Any

import pytest

from infra import outbound
from infra.outbound import Outbound, Undelivered, is_public


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1",
        "169.254.169.254", "100.64.0.1", "224.0.0.1", "255.255.255.255", "192.0.2.1",
        "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:127.0.0.1",
        "::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "2001:0:7f00:1::",
        "64:ff9b:1::7f00:1", "fec0::1", "::7f00:1", "::ffff:0:7f00:1",
    ],
)  # fmt: skip
def test_what_is_inside_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:2800:220:1::1"])
def test_what_is_outside_is(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1:{}/",
        "https://localhost:{}/",
        "https://[::1]:{}/",
        "https://2130706433:{}/",
        "https://0x7f.1:{}/",
    ],
)
def test_nothing_is_sent_to_our_own_network(url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        with pytest.raises(Undelivered) as said:
            Outbound(private=False).post(url.format(server.getsockname()[1]), b"", {})
        assert not said.value.answered
        with pytest.raises(BlockingIOError):
            server.accept()  # nobody came


def test_a_name_that_leads_inside_is_refused_even_where_it_leads_outside_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def both(*_: Any, **__: Any) -> list[Any]:
        kind = socket.SOCK_STREAM
        return [
            (socket.AF_INET, kind, 6, "", (address, 443)) for address in ("8.8.8.8", "10.0.0.1")
        ]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    with pytest.raises(Undelivered, match="private network"):
        Outbound(private=False).post("https://example.com/", b"", {})


def test_plain_http_is_refused() -> None:
    with pytest.raises(Undelivered, match="only https"):
        Outbound(private=False).post("http://example.com/", b"", {})


def test_a_name_is_asked_for_once_so_that_it_cannot_change_its_mind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    connected: list[Any] = []

    def once(host: str, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 443))]

    def connect(address: Any, *_: Any) -> socket.socket:
        connected.append(address)
        raise OSError("not really")

    monkeypatch.setattr(socket, "getaddrinfo", once)
    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(Undelivered, match="not really"):
        Outbound(private=False).post("https://example.com/", b"", {})
    assert asked == ["example.com"]
    assert connected == [("8.8.8.8", 443)]


def test_an_answer_that_comes_byte_by_byte_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "SECONDS", 0.3)
    done = threading.Event()

    class Dripping(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            try:
                self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                while not done.wait(0.05):
                    self.wfile.write(b"x")
            except OSError:
                pass

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Dripping)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        with pytest.raises(Undelivered):
            Outbound(private=True).post(f"http://127.0.0.1:{server.server_port}/", b"{}", {})
    finally:
        done.set()
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_certificate_is_that_of_the_name() -> None:
    """A plain server where TLS belongs is not talked to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer() -> None:
            connection, _ = server.accept()
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(Undelivered, match=r"SSL|Connection"):
            Outbound(private=True).post(f"https://127.0.0.1:{port}/", b"", {})
        thread.join()


@pytest.mark.parametrize("url", ["https://[:::]/", "https://a:99999/", "https://a..b/"])
def test_what_is_no_address_is_not_delivered_and_breaks_nothing(url: str) -> None:
    """Once they were accepted: receivers may have them."""
    with pytest.raises(Undelivered) as said:
        Outbound(private=True).post(url, b"", {})
    assert not said.value.answered
