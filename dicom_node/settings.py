"""The node's configuration: one frozen tree per process, read from TOML and overridden by flags.

Owns every knob with its unit and reason. Knows no file but the one it is given. All mistakes are reported
at once, each with its dotted path (``SettingsError``); nothing is silently ignored: an unknown key is a mistake.
"""

import ipaddress
import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from dicom_node.errors import SettingsError
from dicom_node.records import ResultKind, Right

LOOPBACK = ("127.0.0.1", "::1")
"""Addresses of the machine itself: the only peers while none is configured."""
AE_TITLE_PATTERN = r"^[\x21-\x5b\x5d-\x7e]([\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?$"
"""PS3.5 6.2, value representation AE: at most 16 printable characters, no backslash, no outer spaces."""
HOST_PATTERN = r"^[^\s.\x00]{1,63}(\.[^\s.\x00]{1,63})*\.?$"
"""An address, or labels of 1 to 63 characters (RFC 1035 section 2.3.4): others raise where they are connected to."""
DEFAULT_DICOM_PORT = 11112
"""Registered port of DICOM (IANA "dicom"); 104 would need root."""
DEFAULT_SYSLOG_TLS_PORT = 6514
"""Registered port of syslog over TLS (IANA "syslog-tls", RFC 5425)."""
REPOSITORY_ROOT = Path(__file__).parent.parent
"""Where the shipped configuration and models lie in a checkout."""

AETitle = Annotated[str, Field(pattern=AE_TITLE_PATTERN)]
HostName = Annotated[str, Field(pattern=HOST_PATTERN)]
Port = Annotated[int, Field(ge=1, le=65535)]
ListeningPort = Annotated[int, Field(ge=0, le=65535)]
"""0: the operating system chooses a free one (tests)."""


class _Section(BaseModel):
    """Frozen, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ScpTlsSettings(_Section):
    """Encryption of what the node receives (PS3.15 B.12: TLS 1.2 or 1.3)."""

    certificate: Path
    """The node's certificate, and after it those between it and the CA (PEM)."""
    key: Path
    """Its private key (PEM, without a passphrase), readable by the node's user alone."""
    ca: Path | None = None
    """Certificates that those of peers are signed by (PEM): peers must show one. ``None``: whoever reaches the port may
    speak, encrypted but unknown."""
    port: ListeningPort | None = None
    """``None``: ``scp.port`` speaks TLS, and nothing is taken unencrypted. A port (IANA: 2762) is opened beside it, for
    as long as some peers speak no TLS."""


class PeerTlsSettings(_Section):
    """Encryption on the way to a peer that the node connects to (PS3.15 B.12: TLS 1.2 or 1.3)."""

    ca: Path | None = None
    """Certificates that the peer's is signed by, or its own (PEM); ``None``: those of the operating system."""
    certificate: Path | None = None
    """The node's certificate, where the peer asks for one (PEM)."""
    key: Path | None = None
    """Its private key (PEM)."""
    check_name: bool = True
    """Whether the peer's certificate must carry its name. Without it, everybody with a certificate of that CA can pose
    as the peer."""
    server_name: HostName | None = None
    """The name that it must carry; ``None``: ``host``."""

    @model_validator(mode="after")
    def _certificate_has_its_key(self) -> "PeerTlsSettings":
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together")
        return self


class CommitmentSettings(_Section):
    """Where a peer that asks for storage commitment (PS3.4 Annex J) hears the answer."""

    host: HostName
    port: Port
    tls: PeerTlsSettings | None = None
    """``None``: no encryption."""
    connect_timeout_s: float = Field(default=10.0, gt=0)
    response_timeout_s: float = Field(default=60.0, gt=0)
    retry_for_hours: float = Field(default=72.0, gt=0)
    """How long it is tried. A peer that never hears an answer keeps its instances, and asks again."""


class PeerSettings(_Section):
    """A modality or PACS that may associate with the node."""

    ae_title: AETitle
    address: str | None = None
    """IP address that it must come from, or a range of them (10.0.0.0/24); ``None``: any address."""
    rights: tuple[Right, ...] = Field(default=tuple(Right), min_length=1)
    """What it may ask for."""
    certificate_name: str | None = Field(default=None, min_length=1)
    """Name that its certificate must carry (DNS name, IP address or common name). It may then come over TLS only, and
    nobody else who has a certificate can use its AE title. ``None``: the certificate's name does not matter."""
    commitment: CommitmentSettings | None = None
    """``None``: its requests for storage commitment are refused. Reports go to this address, whoever asks."""

    @field_validator("address")
    @classmethod
    def _is_address_or_range(cls, value: str | None) -> str | None:
        if value is not None:
            ipaddress.ip_network(value)
        return value


class ScpSettings(_Section):
    """The Storage SCP."""

    ae_title: AETitle = "DICOMNODE"
    bind: str = "0.0.0.0"  # noqa: S104 - a Storage SCP is there to be reached; peers are checked
    port: ListeningPort = DEFAULT_DICOM_PORT
    tls: ScpTlsSettings | None = None
    """``None``: no encryption."""
    peers: tuple[PeerSettings, ...] = ()
    """Who may associate. Empty: any AE title, but from the machine itself only."""
    maximum_associations: int = Field(default=256, ge=1, le=1000)
    """At once. More are rejected with "local limit exceeded", which senders retry."""
    maximum_associations_per_peer: int = Field(default=128, ge=1, le=1000)
    """Of one AE title at one address: what a peer that went astray leaves to the others."""
    maximum_pdu_bytes: int = Field(default=1024 * 1024, ge=4096, le=1024 * 1024)
    association_timeout_s: float = Field(default=15.0, gt=0)
    """From the TCP connection to the complete association request (``hostile-input``: slow-loris)."""
    network_timeout_s: float = Field(default=60.0, gt=0)
    """Silence between messages after which an association is aborted."""
    transfer_timeout_s: float = Field(default=30.0, gt=0)
    """For one PDU from its first byte to its last, for a pause within a message, and for taking our response."""
    minimum_free_mb: int = Field(default=1024, ge=0)
    """Free disk space below which instances are answered A700 (out of resources), which senders retry."""

    @model_validator(mode="after")
    def _tls_has_a_port_of_its_own(self) -> "ScpSettings":
        if self.tls is not None and self.tls.port == self.port != 0:
            raise ValueError("tls.port is port: leave tls.port out, and port speaks TLS")
        return self

    @model_validator(mode="after")
    def _certificates_can_be_asked_for(self) -> "ScpSettings":
        named = [peer.ae_title for peer in self.peers if peer.certificate_name is not None]
        if named and (self.tls is None or self.tls.ca is None):
            raise ValueError(f"peer {named[0]} has a certificate_name, but without tls.ca no peer shows a certificate")
        return self

    @model_validator(mode="after")
    def _reports_know_their_address_by_ae_title(self) -> "ScpSettings":
        reports: dict[str, CommitmentSettings | None] = {}
        for peer in self.peers:
            if reports.setdefault(peer.ae_title, peer.commitment) != peer.commitment:
                raise ValueError(f"peers called {peer.ae_title} must all have the same commitment section, or none")
        return self


class CompletenessSettings(_Section):
    """When a study counts as complete."""

    settle_s: float = Field(default=60.0, ge=0)
    """Quiet time after the last instance of every series. Modalities pause between reconstructions."""
    stale_after_s: float = Field(default=900.0, gt=0)
    """An association that is open but silent for that long no longer holds a study back."""


class TritonTlsSettings(_Section):
    """Encryption on the way to Triton."""

    ca: Path | None = None
    """Certificates that the server's is signed by (PEM); ``None``: those that gRPC brings."""
    certificate: Path | None = None
    """Our own certificate (PEM), where the server asks for one."""
    key: Path | None = None
    """Its private key (PEM)."""

    @model_validator(mode="after")
    def _certificate_has_its_key(self) -> "TritonTlsSettings":
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together")
        return self


class TritonSettings(_Section):
    """Triton servers."""

    addresses: tuple[Annotated[str, Field(pattern=r"^(\[[0-9A-Fa-f:.]+\]|[^\s:/,]+):[0-9]{1,5}$")], ...] = ()
    """HOST:PORT of the gRPC service of each; work is shared between those that answer."""
    call_timeout_s: float = Field(default=60.0, gt=0)
    """Deadline of one request of 16 slices, the server's queue included."""
    fallback: Literal["wait", "embedded"] = "wait"
    """What studies do while no server answers. embedded: they are computed in this process."""
    retry_for_hours: float = Field(default=72.0, gt=0)
    """How long a study waits for a server (a long weekend) before it is reported as not analysed."""
    tls: TritonTlsSettings | None = None
    """``None``: no encryption."""


class EngineSettings(_Section):
    """Where models run."""

    kind: Literal["embedded", "triton"] = "embedded"
    """embedded: OpenVINO inside this process. triton: servers of their own, see ``triton``."""
    repository: Path = REPOSITORY_ROOT / "triton_models"
    """The models; with Triton also what the servers' models are held against."""
    threads: int = Field(default=0, ge=0)
    """CPU threads for inference; 0: all cores."""
    triton: TritonSettings = TritonSettings()

    @model_validator(mode="after")
    def _triton_has_an_address(self) -> "EngineSettings":
        if self.kind == "triton" and not self.triton.addresses:
            raise ValueError('kind triton needs triton.addresses, e.g. ["10.0.0.7:8001"]')
        return self


class DestinationSettings(_Section):
    """A PACS that results are sent to."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    ae_title: AETitle
    host: HostName
    port: Port
    tls: PeerTlsSettings | None = None
    """``None``: no encryption."""
    results: tuple[ResultKind, ...] = Field(default=tuple(ResultKind), min_length=1)
    """Which objects it gets. What goes in place of one whose SOP class it does not take is not a setting: see
    ``dicom_node.delivery.fallbacks``."""
    connect_timeout_s: float = Field(default=10.0, gt=0)
    response_timeout_s: float = Field(default=60.0, gt=0)
    """For one C-STORE response; archives may be slow on large SEGs."""
    retry_for_hours: float = Field(default=72.0, gt=0)
    """How long a destination may be away (a long weekend) before an operator has to ask for a retry."""
    retry_first_s: float = Field(default=5.0, gt=0)
    """First pause; it doubles up to ``retry_longest_s``."""
    retry_longest_s: float = Field(default=600.0, gt=0)

    @field_validator("results")
    @classmethod
    def _names_each_once(cls, value: tuple[ResultKind, ...]) -> tuple[ResultKind, ...]:
        twice = sorted({kind.value for kind in value if value.count(kind) > 1})
        if twice:
            raise ValueError(f"{twice[0]!r} is named twice")
        return value


class SyslogSettings(_Section):
    """An audit record repository that is reached over TLS (PS3.15 A.6, RFC 5425)."""

    host: HostName
    port: Port = DEFAULT_SYSLOG_TLS_PORT
    tls: PeerTlsSettings = PeerTlsSettings()


class AuditSettings(_Section):
    """The trail of security events (PS3.15 A.5). It is always kept in files; a repository may get it as well."""

    folder: Path | None = None
    """``None``: ``audit`` in ``data_dir``."""
    file_mb: int = Field(default=64, ge=1)
    """Size at which a new file is begun."""
    files: int = Field(default=16, ge=2)
    """How many are kept; beyond them the oldest is removed. 16 of 64 MB hold about half a million events."""
    syslog: SyslogSettings | None = None
    """``None``: files only."""


class StowSettings(_Section):
    """STOW-RS (PS3.18 section 10.5): instances over HTTP, for whoever has the token."""

    token_file: Path
    """Holds the bearer token, on one line. Whoever reads it may store: the node's user alone."""
    maximum_request_mb: int = Field(default=4096, ge=1)
    """A longer request is answered 413; what of it was stored before stays stored."""
    maximum_part_mb: int = Field(default=1024, ge=1)
    """A longer part is refused, the others are stored."""
    maximum_parts: int = Field(default=10_000, ge=1)
    """Instances in one request: three times the longest CT study we know of."""
    maximum_requests: int = Field(default=4, ge=1, le=100)
    """At once; more are answered 503 and may try again."""


class WebSettings(_Section):
    """The JSON API, health checks, and STOW-RS."""

    bind: str = "127.0.0.1"
    """No login yet, so the machine itself only; put a proxy with a login before it to open it."""
    port: ListeningPort = 8080
    stow: StowSettings | None = None
    """``None``: nobody can store over HTTP."""


class LogSettings(_Section):
    """JSON lines on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class NodeSettings(_Section):
    """The whole tree."""

    data_dir: Path = Path("var")
    """Spool, results and databases. A local file system; never NFS (SQLite's locks)."""
    routing_rules: Path = REPOSITORY_ROOT / "config" / "pipelines.toml"
    scp: ScpSettings = ScpSettings()
    completeness: CompletenessSettings = CompletenessSettings()
    engine: EngineSettings = EngineSettings()
    destinations: tuple[DestinationSettings, ...] = ()
    audit: AuditSettings = AuditSettings()
    web: WebSettings = WebSettings()
    log: LogSettings = LogSettings()

    @model_validator(mode="after")
    def _destination_names_are_unique(self) -> "NodeSettings":
        names = [destination.name for destination in self.destinations]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"destinations: the name {twice[0]!r} is used twice")
        return self

    def destination(self, name: str) -> DestinationSettings | None:
        """The destination of that name."""
        return next((found for found in self.destinations if found.name == name), None)


def load_settings(path: Path | None, overrides: dict[str, object] | None = None) -> NodeSettings:
    """Read a TOML file (``None``: defaults only) and lay ``overrides`` (nested, same keys) over it.

    Relative paths in the file are relative to the file's folder. Raises ``SettingsError`` with every mistake.
    """
    tree: dict[str, object] = {}
    if path is not None:
        try:
            tree = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise SettingsError([f"{path}: cannot be read ({error.strerror})"]) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError([f"{path}: not valid TOML ({error})"]) from error
        _resolve_paths(tree, path.parent)
    _lay_over(tree, overrides or {})
    try:
        return NodeSettings.model_validate(tree)
    except ValidationError as error:
        raise SettingsError([_mistake(item["loc"], item["msg"]) for item in error.errors()]) from error


def parse_destination(text: str) -> dict[str, object]:
    """``NAME=AET@HOST:PORT`` as the keys of a destination. Raises ``SettingsError``."""
    match = re.fullmatch(r"(?P<name>[^=]+)=(?P<ae>[^@]+)@(?P<host>.+):(?P<port>\d+)", text)
    if match is None:
        raise SettingsError([f"--destination {text!r}: expected NAME=AET@HOST:PORT, e.g. pacs=ORTHANC@10.0.0.5:4242"])
    return {"name": match["name"], "ae_title": match["ae"], "host": match["host"], "port": int(match["port"])}


def parse_peer(text: str) -> dict[str, object]:
    """``AET`` or ``AET@ADDR`` as the keys of a peer."""
    ae_title, _, address = text.partition("@")
    return {"ae_title": ae_title, "address": address or None}


def _resolve_paths(tree: dict[str, object], folder: Path) -> None:
    """Relative paths of the file, made relative to its folder; what is not as it should be is left to validation."""
    destinations = tree.get("destinations")
    peers = _below(tree, "scp", "peers")
    holders = [tree, *(destinations if isinstance(destinations, list) else [])]
    holders += [_below(peer, "commitment") for peer in (peers if isinstance(peers, list) else [])]
    holders += [_below(tree, *names) for names in (("scp",), ("engine",), ("engine", "triton"), ("audit", "syslog"))]
    files = [(_below(holder, "tls"), key) for holder in holders for key in ("ca", "certificate", "key")]
    files += [(tree, "data_dir"), (tree, "routing_rules")]
    files += [(_below(tree, "engine"), "repository"), (_below(tree, "audit"), "folder")]
    files += [(_below(tree, "web", "stow"), "token_file")]
    for section, key in files:
        if isinstance(section, dict) and isinstance(section.get(key), str):
            section[key] = str(folder / section[key])


def _below(tree: object, *names: str) -> object:
    for name in names:
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree


def _lay_over(tree: dict[str, object], overrides: dict[str, object]) -> None:
    for key, value in overrides.items():
        below = tree.get(key)
        if isinstance(value, dict) and isinstance(below, dict):
            _lay_over(below, value)
        else:
            tree[key] = value


def _mistake(location: tuple[int | str, ...], message: str) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    return f"{path}: {message}" if path else message
