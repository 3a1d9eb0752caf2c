"""Certificates for tests: good ones by the script of deploy/tls, and bad ones of every kind by openssl."""

import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "deploy" / "tls" / "certificates.sh"
HOSTS = ("localhost", "127.0.0.1")
CONFIGURATION = """
[ca]
default_ca = tests
[tests]
database = {folder}/index.txt
serial = {folder}/serial
new_certs_dir = {folder}
default_md = sha256
policy = anything
copy_extensions = copy
unique_subject = no
crlnumber = {folder}/crlnumber
default_crl_days = 30
[anything]
commonName = supplied
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A certificate and its key (PEM files)."""

    certificate: Path
    key: Path

    @property
    def settings(self) -> dict[str, str]:
        return {"certificate": str(self.certificate), "key": str(self.key)}


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority in a folder of its own."""

    folder: Path

    @classmethod
    def made(cls, folder: Path, name: str = "Hospital CA") -> "Authority":
        run("sh", SCRIPT, "ca", folder, name)
        return cls(folder)

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    def peer(self, name: str, *hosts: str) -> Pair:
        """A certificate as the shipped script makes it; made once, so that a name always has the same hosts."""
        pair = Pair(certificate=self.folder / f"{name}.pem", key=self.folder / f"{name}-key.pem")
        made_for = self.folder / f"{name}.hosts"
        if not pair.certificate.exists():
            run("sh", SCRIPT, "peer", self.folder, name, *(hosts or HOSTS))
            made_for.write_text(repr(hosts))
        assert made_for.read_text() == repr(hosts), f"{name} was made for other hosts"
        return pair

    def odd(
        self,
        name: str,
        *,
        starts: timedelta = timedelta(days=-2),
        ends: timedelta = timedelta(days=99),
        usage: str = "",
        constraints: str = "CA:FALSE",
    ) -> Pair:
        """A certificate of this authority that holds from now + starts to now + ends, for ``usage`` only."""
        pair = Pair(certificate=self.folder / f"{name}.pem", key=self.folder / f"{name}-key.pem")
        configuration = self._configuration()
        request = self.folder / f"{name}.csr"
        extensions = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        extensions += ["-addext", f"basicConstraints=critical,{constraints}"]
        extensions += ["-addext", f"extendedKeyUsage={usage}"] if usage else []
        run(
            "openssl", "req", *NEW_KEY, "-subj", f"/CN={name}", *extensions, "-keyout", pair.key, "-out", request,
            "-config", empty_configuration(self.folder),
        )  # fmt: skip
        run(
            "openssl", "ca", "-batch", "-notext", "-config", configuration, "-cert", self.ca, "-keyfile",
            self.folder / "ca-key.pem", "-in", request, "-out", pair.certificate,
            "-startdate", asn1_time(starts), "-enddate", asn1_time(ends),
        )  # fmt: skip
        return pair

    def revoke(self, pair: Pair) -> Path:
        """The authority's certificate with a revocation list that names ``pair``."""
        authority = ["-config", self._configuration(), "-cert", self.ca, "-keyfile", self.folder / "ca-key.pem"]
        run("openssl", "ca", *authority, "-revoke", pair.certificate)
        run("openssl", "ca", *authority, "-gencrl", "-out", self.folder / "crl.pem")
        both = self.folder / "ca-and-crl.pem"
        both.write_text(self.ca.read_text() + (self.folder / "crl.pem").read_text())
        return both

    def _configuration(self) -> Path:
        path = self.folder / "ca.cnf"
        if not path.exists():
            path.write_text(CONFIGURATION.format(folder=self.folder))
            (self.folder / "index.txt").touch()
            (self.folder / "serial").write_text("1000\n")
            (self.folder / "crlnumber").write_text("01\n")
        return path


NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc")


def self_signed(folder: Path, name: str, *, key: tuple[str, ...] = NEW_KEY) -> Pair:
    """A certificate that nobody vouches for, as many archives have."""
    folder.mkdir(parents=True, exist_ok=True)
    pair = Pair(certificate=folder / f"{name}.pem", key=folder / f"{name}-key.pem")
    run(
        "openssl", "req", "-x509", *key, "-days", "60", "-subj", f"/CN={name}",
        "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE",
        "-keyout", pair.key, "-out", pair.certificate,
    )  # fmt: skip
    return pair


def empty_configuration(folder: Path) -> Path:
    """The system's own would add extensions of its own."""
    path = folder / "req.cnf"
    path.write_text("[req]\ndistinguished_name = name\n[name]\n")
    return path


def asn1_time(offset: timedelta) -> str:
    return f"{datetime.now(UTC) + offset:%Y%m%d%H%M%SZ}"


def run(*command: str | Path) -> None:
    finished = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
