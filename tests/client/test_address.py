"""Where a daemon is looked for, and which key is shown to it."""

import socket
import ssl

import pytest

from gpumod.client.address import Address, find_address, find_key, parse_host
from gpumod.client.transport import trust
from gpumod.core.errors import InvalidRequestError, NotAllowedError


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("box", "http://box:7780"),
        ("box:99", "http://box:99"),
        ("127.0.0.1:99", "http://127.0.0.1:99"),
        ("[::1]:99", "http://[::1]:99"),
        ("http://box", "http://box:7780"),
        ("https://box:443/", "https://box:443"),
    ],
)
def test_hosts_as_people_write_them(text, url):
    assert parse_host(text).url == url


@pytest.mark.parametrize(
    "text", ["", "a b", "box:port", "box:0", "box:70000", "ftp://box", "http://box/v1", "u:p@box", "x?y"]
)
def test_hosts_that_are_none(text):
    with pytest.raises(InvalidRequestError, match="HOST:PORT"):
        parse_host(text)


def test_what_is_given_comes_before_the_environment():
    env = {"GPUMOD_SOCKET": "/from/env", "GPUMOD_HOST": "env"}
    assert find_address("box", None, env).host == "box"
    assert find_address(None, "/given", env).socket == "/given"
    assert find_address(None, None, env).socket == "/from/env"
    assert find_address(None, None, {"GPUMOD_HOST": "env:5"}).url == "http://env:5"


def test_two_places_at_once_are_refused():
    with pytest.raises(InvalidRequestError, match="not both"):
        find_address("box", "/socket", {})


def test_the_users_own_socket_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr("gpumod.core.paths.SYSTEM_RUNTIME", str(tmp_path / "system"))
    (tmp_path / "gpumod").mkdir()
    path = str(tmp_path / "gpumod/gpumod.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        assert find_address(env={"XDG_RUNTIME_DIR": str(tmp_path)}).socket == path
    # Its file is still there, as after a kill -9 of the daemon: nobody accepts, so the port is next.
    stale = find_address(env={"XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)})
    assert stale.url == "http://127.0.0.1:7780"
    assert f"{path}: connection refused" in stale.tried


def test_an_error_names_every_place():
    error = Address(tried=("/a: no such file", "/b: permission denied")).unreachable("connection refused")
    for part in ("/a: no such file", "/b: permission denied", "7780: connection refused"):
        assert part in error.detail


def test_keys_by_argument_environment_and_file(tmp_path):
    file = tmp_path / "key"
    file.write_text("from-file\n")
    env = {"GPUMOD_KEY": "from-env", "GPUMOD_KEY_FILE": str(file)}
    assert find_key("given", None, env) == "given"
    assert find_key(None, str(file), env) == "from-file"
    assert find_key(None, None, env) == "from-env"
    assert find_key(None, None, {"GPUMOD_KEY_FILE": str(file)}) == "from-file"
    (tmp_path / "gpumod").mkdir()
    (tmp_path / "gpumod/key").write_text("default")
    assert find_key(None, None, {"XDG_CONFIG_HOME": str(tmp_path)}) == "default"
    assert find_key(None, None, {"HOME": str(tmp_path)}) is None


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe"])
def test_a_key_file_that_was_asked_for_has_to_be_good(tmp_path, content):
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(NotAllowedError, match="key file"):
        find_key(None, str(file), {})


def test_authorities_are_loaded_for_https_alone_and_nobody_is_trusted_elsewhere():
    assert trust(parse_host("https://box")) is True
    for address in (parse_host("box"), Address(socket="/run/gpumod.sock")):
        nobody = trust(address)
        assert isinstance(nobody, ssl.SSLContext)
        assert nobody.verify_mode is ssl.CERT_REQUIRED
        assert nobody.cert_store_stats()["x509_ca"] == 0
