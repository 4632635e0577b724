"""TLS without an authority: a certificate of the server's own, or files that a lab gives; and clients that trust one.

On a lab's network nobody vouches for a server, yet browsers give pages their full abilities over https alone.
"""

import datetime as dt
import ipaddress
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pipelines.errors import DiscernError
from pipelines.workspace import write_atomically

DAYS = 397  # browsers refuse what lasts longer
LEFT_DAYS = 7
SLACK = dt.timedelta(hours=1)  # clocks on a network differ


@dataclass(frozen=True)
class Files:
    """PEM files: a certificate, whose chain may follow it, and its key."""

    certificate: Path
    key: Path

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the certificate, as browsers show it."""
        return _loaded(self.certificate).fingerprint(hashes.SHA256()).hex(":").upper()


def given(certificate: Path, key: Path) -> Files:
    """A lab's own files.

    Raises:
        DiscernError: one is missing or of no use, they are no pair, or the certificate has expired.
    """
    loaded, private = _loaded(certificate), _loaded_key(key)
    if loaded.public_key() != private.public_key():
        raise DiscernError(f"--key: {key} is not the key of {certificate}: give the two that belong together")
    if loaded.not_valid_after_utc < dt.datetime.now(dt.UTC):
        raise DiscernError(f"--certificate: {certificate} expired on {loaded.not_valid_after_utc:%Y-%m-%d}: renew it")
    return Files(certificate.resolve(), key.resolve())


def own(home: Path, host: str) -> Files:
    """The server's own certificate; made anew where it expires soon, or the machine has got another name or address.

    Args:
        home: where it is kept.
        host: that is listened on.

    Raises:
        DiscernError: it cannot be written.
    """
    files = Files(home / "tls" / "certificate.pem", home / "tls" / "key.pem")
    names = _names(host)
    if not _serves(files, names):
        try:
            _make(files, names)
        except OSError as error:
            raise DiscernError(f"{files.certificate.parent}: cannot be written ({error.strerror})") from error
    return files


def trusting(certificate: Path) -> ssl.SSLContext:
    """For a client that knows the server's certificate: that one is trusted, by whatever name it is reached."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(certificate)
    return context


def _loaded(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        raise DiscernError(f"--certificate: {path} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise DiscernError(
            f"--certificate: {path} is no certificate in PEM: convert it, or give another file"
        ) from error


def _loaded_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise DiscernError(f"--key: {path} cannot be read ({error.strerror})") from error
    except TypeError as error:
        raise DiscernError(f"--key: {path} is protected by a password: give a file without one") from error
    except ValueError as error:
        raise DiscernError(f"--key: {path} is no key in PEM: convert it, or give another file") from error
    return key  # type: ignore[return-value]


def _serves(files: Files, names: set[str]) -> bool:
    try:
        found = given(files.certificate, files.key)
        loaded = _loaded(found.certificate)
        there = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (DiscernError, x509.ExtensionNotFound):
        return False
    lasts = loaded.not_valid_after_utc - dt.datetime.now(dt.UTC) > dt.timedelta(days=LEFT_DAYS)
    known = {*there.get_values_for_type(x509.DNSName), *map(str, there.get_values_for_type(x509.IPAddress))}
    return lasts and names <= known


def _names(host: str) -> set[str]:
    """How browsers on this machine and on its network may call it."""
    own_name = socket.gethostname()
    names = {"localhost", own_name, f"{own_name.partition('.')[0]}.local", "127.0.0.1", "::1", *_addresses(own_name)}
    if host not in ("", "0.0.0.0", "::"):  # noqa: S104 - compared with, not listened on
        names.add(host)
    # A certificate holds plain names alone.
    return {name for name in names if name and name.isascii()}


def _addresses(own_name: str) -> set[str]:
    found = set()
    with suppress(OSError):
        found |= {str(place[4][0]).partition("%")[0] for place in socket.getaddrinfo(own_name, None)}
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Nothing is sent: the system only chooses the interface that leads outside.
        probe.connect(("192.0.2.1", 9))
        found.add(str(probe.getsockname()[0]))
    return found


def _make(files: Files, names: set[str]) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Discern")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SLACK)
        .not_valid_after(now - SLACK + dt.timedelta(days=DAYS))
        .add_extension(x509.SubjectAlternativeName([_general(one) for one in sorted(names)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    files.key.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # One without the other is no pair, and is made anew.
    write_atomically(files.key, private, mode=0o600)
    write_atomically(files.certificate, certificate.public_bytes(serialization.Encoding.PEM))


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
