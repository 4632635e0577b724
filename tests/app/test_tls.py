"""TLS: the server's own certificate, a lab's files, and a server that speaks https to those who know it."""

import datetime as dt
import re
import socket
import ssl
from pathlib import Path

import httpx
import pytest
from cryptography import x509

from app import serving, tls
from pipelines.errors import DiscernError
from tests.app.conftest import PASSWORD
from tests.app.processes import Process, discern
from tests.app.test_serving import ADDRESS, LINK, new_home


def names_of(files: tls.Files) -> set[str]:
    loaded = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    there = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {*there.get_values_for_type(x509.DNSName), *map(str, there.get_values_for_type(x509.IPAddress))}


def later(monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    class Later(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:  # type: ignore[override]
            return dt.datetime.now(tz) + dt.timedelta(days=days)

    monkeypatch.setattr(tls, "dt", type("later", (), {"datetime": Later, "UTC": dt.UTC, "timedelta": dt.timedelta}))


def test_a_certificate_of_its_own_names_this_machine_and_nobody_else_reads_its_key(tmp_path: Path) -> None:
    files = tls.own(tmp_path, "192.0.2.7")
    own_name = socket.gethostname()
    assert {"localhost", own_name, f"{own_name}.local", "127.0.0.1", "::1", "192.0.2.7"} <= names_of(files)
    assert "0.0.0.0" not in names_of(tls.own(tmp_path / "other", "0.0.0.0"))
    assert files.key.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in (tmp_path / "tls").iterdir()) == ["certificate.pem", "key.pem"]
    assert re.fullmatch("([0-9A-F]{2}:){31}[0-9A-F]{2}", files.fingerprint)
    loaded = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    assert loaded.not_valid_after_utc - loaded.not_valid_before_utc == dt.timedelta(days=397)


def test_it_stays_until_it_is_about_to_expire_or_the_machine_has_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tls.own(tmp_path, "127.0.0.1").fingerprint
    assert tls.own(tmp_path, "127.0.0.1").fingerprint == first
    renamed = tls.own(tmp_path, "192.0.2.7").fingerprint
    assert renamed != first
    later(monkeypatch, 388)
    assert tls.own(tmp_path, "192.0.2.7").fingerprint == renamed
    later(monkeypatch, 391)
    assert tls.own(tmp_path, "192.0.2.7").fingerprint != renamed


@pytest.mark.parametrize("lost", ["certificate.pem", "key.pem"])
def test_what_an_interruption_left_of_it_is_made_anew(tmp_path: Path, lost: str) -> None:
    first = tls.own(tmp_path, "127.0.0.1").fingerprint
    (tmp_path / "tls" / lost).unlink()
    again = tls.own(tmp_path, "127.0.0.1")
    assert again.fingerprint != first
    assert tls.given(again.certificate, again.key).fingerprint == again.fingerprint


def test_files_of_a_lab_that_cannot_be_used_are_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = tls.own(tmp_path / "one", "127.0.0.1"), tls.own(tmp_path / "other", "127.0.0.1")
    text = tmp_path / "text.pem"
    text.write_text("no PEM")
    for certificate, key, message in [
        (tmp_path / "none.pem", one.key, "--certificate: .*none.pem cannot be read"),
        (one.certificate, tmp_path / "none.pem", "--key: .*none.pem cannot be read"),
        (text, one.key, "--certificate: .*text.pem is no certificate in PEM"),
        (one.certificate, text, "--key: .*text.pem is no key in PEM"),
        (one.certificate, other.key, "--key: .* is not the key of .*: give the two that belong together"),
    ]:
        with pytest.raises(DiscernError, match=message) as refusal:
            tls.given(certificate, key)
        assert len(str(refusal.value).splitlines()) == 1
    later(monkeypatch, 400)
    with pytest.raises(DiscernError, match=r"--certificate: .* expired on .*: renew it"):
        tls.given(one.certificate, one.key)


def test_options_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    files = tls.own(tmp_path, "127.0.0.1")
    half = discern("serve", "--certificate", files.certificate, DISCERN_HOME=str(tmp_path / "home"))
    assert half.returncode == 2
    assert "--certificate and --key: give both, or neither" in half.stderr
    given = ("--certificate", files.certificate, "--key", files.key)
    both = discern("serve", "--tls", *given, DISCERN_HOME=str(tmp_path / "home"))
    assert both.returncode == 2
    assert "--tls makes a certificate: give either that, or" in both.stderr


@pytest.mark.parametrize("whose", ["its own", pytest.param("the lab's", marks=pytest.mark.slow)])
def test_a_server_speaks_https_to_those_who_know_its_certificate(whose: str, workspace: Path, tmp_path: Path) -> None:
    options = ["--tls"]
    if whose == "the lab's":
        files = tls.own(tmp_path, "another.example.org")
        options = ["--certificate", str(files.certificate), "--key", str(files.key)]
    with new_home() as home:
        environment = {"DISCERN_HOME": str(home)}
        process = Process("serve", "--port", 0, *options, **environment)
        try:
            url = process.wait_until_printed(ADDRESS)
            assert url.startswith("https://127.0.0.1:")
            if whose == "its own":
                files = tls.Files(home / "tls" / "certificate.pem", home / "tls" / "key.pem")
                assert process.wait_until_printed("fingerprint: (\\S+)") == files.fingerprint
            link = process.wait_until_printed(LINK)
            assert link.startswith("https://")
            assert discern("study", "import", workspace, **environment).returncode == 0
            # With the host's name checked, as browsers do once they trust it.
            verify: ssl.SSLContext = ssl.create_default_context(cafile=str(files.certificate))
            with httpx.Client(base_url=url, trust_env=False, verify=verify, timeout=30) as admin:
                signed_in = admin.post(link, data={"name": "ada", "password": PASSWORD})
                assert signed_in.status_code == 303
                cookie = signed_in.headers["set-cookie"]
                assert cookie.startswith("__Host-")
                assert "; Secure" in cookie
                assert admin.patch("/api/studies/small", json={"state": "open"}).is_success
            simulated = discern("simulate", "small", "--subjects", 1, **environment)
            assert simulated.returncode == 0, simulated.stderr
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                httpx.get(url, trust_env=False)
            with pytest.raises(httpx.TransportError):
                httpx.get(url.replace("https:", "http:"), trust_env=False, timeout=10)
            assert serving.trust(home, "https://elsewhere.example.org") is True
        finally:
            process.end()


def test_a_key_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "tls").write_text("a file")
    with pytest.raises(DiscernError, match=re.escape(f"{tmp_path / 'tls'}: cannot be written")):
        tls.own(tmp_path, "127.0.0.1")
    assert [path.name for path in tmp_path.iterdir()] == ["tls"]
