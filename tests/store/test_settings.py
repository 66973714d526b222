# SPDX-License-Identifier: Apache-2.0
"""Settings: said, else in the environment, else in a file, else sensible; unsafe ones are refused."""

from pathlib import Path

import pytest

from radproof.errors import BadInput
from radproof.store.ids import is_id, new_id
from radproof.store.settings import read_settings


def test_what_is_said_goes_before_the_environment_and_that_before_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "radproof.toml"
    file.write_text('port = 1\nthreads = 2\nquota_runs = 3\nallowed_hosts = ["a.example"]\n')
    monkeypatch.setenv("RADPROOF_PORT", "4")
    monkeypatch.setenv("RADPROOF_THREADS", "5")
    found = read_settings(file, port=6)
    assert (found.port, found.threads, found.quota_runs, found.allowed_hosts) == (6, 5, 3, ("a.example",))
    assert read_settings().port == 4


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "radproof.example"])
def test_beyond_loopback_there_is_no_way_without_sign_in(host: str) -> None:
    with pytest.raises(BadInput, match="refusing to listen"):
        read_settings(host=host, auth=False)
    assert read_settings(host=host).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "localhost"])
def test_on_loopback_there_is(host: str) -> None:
    assert read_settings(host=host, auth=False).loopback


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("public_url", "https://lab.example"),
        ("public_url", "http://10.0.0.7:8000"),
        ("public_url", "lab.example"),
        ("public_url", "https://localhost.lab.example"),
        ("allowed_hosts", ("lab.example",)),
        ("trusted_proxies", ("127.0.0.1",)),
    ],
)
def test_without_sign_in_nobody_else_is_let_in(name: str, told: object) -> None:
    with pytest.raises(BadInput, match=f"setting {name}.*administrator"):
        read_settings(auth=False, **{name: told})
    assert getattr(read_settings(**{name: told}), name) == told


@pytest.mark.parametrize("told", ["http://localhost:9000", "http://127.0.0.1", "http://[::1]:8000"])
def test_without_sign_in_the_address_may_be_this_machine_s_own(told: str) -> None:
    assert read_settings(auth=False, public_url=told).public_url == told


@pytest.mark.parametrize(("told", "named"), [({"port": 70000}, "port"), ({"quota_runs": 0}, "quota_runs")])
def test_a_wrong_setting_is_named(told: dict[str, int], named: str) -> None:
    with pytest.raises(BadInput, match=f"setting {named}"):
        read_settings(**told)


def test_a_file_with_an_unknown_key_or_damage_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "radproof.toml"
    file.write_text("prot = 1\n")
    with pytest.raises(BadInput, match="prot"):
        read_settings(file)
    file.write_text("port = = 1\n")
    with pytest.raises(BadInput):
        read_settings(file)
    with pytest.raises(BadInput, match="no settings file"):
        read_settings(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("name", "told"),
    [("oidc_roles", {"lab": "develper"}), ("oidc_issuer", "http://id.example"), ("oidc_issuer", "id.example")],
)
def test_a_wrong_identity_provider_is_refused_at_the_start(name: str, told: object) -> None:
    with pytest.raises(BadInput, match=f"setting {name}"):
        read_settings(**{name: told})
    assert read_settings(oidc_issuer="http://127.0.0.1:9").oidc_issuer and read_settings(oidc_roles={"lab": "admin"})


def test_the_secret_stays_and_is_nobody_elses(tmp_path: Path) -> None:
    settings = read_settings(home=tmp_path / "home")
    first = settings.secret()
    assert len(first) == 32
    assert settings.secret() == first
    assert (tmp_path / "home" / "secret").stat().st_mode & 0o077 == 0
    assert read_settings(home=tmp_path / "else").secret() != first


def test_names_are_random_and_plain() -> None:
    names = {new_id("run") for _ in range(1000)}
    assert len(names) == 1000
    assert all(is_id(name, "run") and name.isascii() and name.replace("_", "").isalnum() for name in names)
    for hostile in ("", "run_", "../run", "run_" + "a" * 26 + "\n", "run_" + "i" * 26, "mdl_" + "0" * 27, "%2e%2e"):
        assert not is_id(hostile)
    assert not is_id(new_id("mdl"), "run")
