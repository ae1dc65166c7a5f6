"""Where the daemon and its clients expect each other."""

import pytest

from gpumod.core import paths

USER = {"HOME": "/home/ada", "XDG_RUNTIME_DIR": "/run/user/1000"}


@pytest.mark.parametrize(
    ("env", "uid", "socket"),
    [
        (USER, 1000, "/run/user/1000/gpumod/gpumod.sock"),
        ({"RUNTIME_DIRECTORY": "/run/gpumod:/run/other"}, 0, "/run/gpumod/gpumod.sock"),
        ({"HOME": "/root"}, 0, "/run/gpumod/gpumod.sock"),
        ({"HOME": "/home/ada"}, 1000, "/home/ada/.local/state/gpumod/gpumod.sock"),
        ({"HOME": "/home/ada", "XDG_STATE_HOME": "/data"}, 1000, "/data/gpumod/gpumod.sock"),
    ],
)
def test_a_client_of_the_same_user_finds_the_daemons_socket(env, uid, socket):
    assert paths.socket_path(env, uid) == socket
    seen_by_client = {name: value for name, value in env.items() if name != "RUNTIME_DIRECTORY"}
    assert socket in paths.socket_candidates(seen_by_client, uid)


def test_the_users_socket_comes_before_the_systems():
    assert paths.socket_candidates(USER, 1000) == (
        "/run/user/1000/gpumod/gpumod.sock",
        "/home/ada/.local/state/gpumod/gpumod.sock",
        "/run/gpumod/gpumod.sock",
    )


def test_a_client_from_cron_looks_where_the_user_manager_puts_it():
    assert paths.socket_candidates({}, 1000)[0] == "/run/user/1000/gpumod/gpumod.sock"


def test_a_chosen_configuration_has_no_fallback():
    assert paths.config_directories({"GPUMOD_CONFIG": "/mine", "HOME": "/home/ada"}) == ("/mine",)
    assert paths.config_directories({"HOME": "/home/ada/"}) == ("/home/ada/.config/gpumod", "/etc/gpumod")
    assert paths.config_directories({}) == ("/etc/gpumod",)


def test_the_state_is_where_systemd_says():
    assert paths.state_directory({"STATE_DIRECTORY": "/var/lib/gpumod", **USER}) == "/var/lib/gpumod"
    assert paths.state_directory({}) == "/var/lib/gpumod"


def test_key_files():
    assert paths.key_files({"GPUMOD_KEY_FILE": "/key", **USER}) == ("/key",)
    assert paths.key_files(USER) == ("/home/ada/.config/gpumod/key",)
    assert paths.key_files({}) == ()
