"""Settings: every mistake at once with its dotted path, nothing ignored, flags over file."""

from pathlib import Path

import pytest

from dicom_node.errors import SettingsError
from dicom_node.records import ResultKind
from dicom_node.settings import load_settings, parse_destination, parse_peer

REPOSITORY = Path(__file__).parents[2]


def test_defaults_are_sound() -> None:
    settings = load_settings(None)
    assert settings.scp.peers == ()
    assert settings.web.bind == "127.0.0.1"


def test_shipped_file_changes_nothing_but_the_data_folder() -> None:
    shipped = load_settings(REPOSITORY / "config" / "node.toml")
    assert shipped.data_dir.resolve() == REPOSITORY / "var"
    assert shipped.model_copy(update={"data_dir": load_settings(None).data_dir}) == load_settings(None)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text(
        "[scp]\nae_title = 'A TITLE THAT IS TOO LONG'\nprot = 104\n"
        "[[scp.peers]]\nae_title = 'CT1'\naddress = 'ct1.hospital'\n"
        "[[destinations]]\nname = 'pacs'\nae_title = 'PACS'\nhost = 'h'\nport = 0\n"
    )
    with pytest.raises(SettingsError) as caught:
        load_settings(file)
    paths = [mistake.partition(":")[0] for mistake in caught.value.mistakes]
    assert paths == ["scp.ae_title", "scp.peers[0].address", "scp.prot", "destinations[0].port"]


def test_a_destination_name_is_used_once() -> None:
    twice = [parse_destination("pacs=A@h:1"), parse_destination("pacs=B@h:2")]
    with pytest.raises(SettingsError, match="'pacs' is used twice"):
        load_settings(None, {"destinations": twice})


@pytest.mark.parametrize("text", ["no toml =", "\xff"])
def test_unreadable_file_is_a_mistake_with_its_path(tmp_path: Path, text: str) -> None:
    file = tmp_path / "node.toml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(SettingsError, match=r"node\.toml: not valid TOML"):
        load_settings(file)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(tmp_path / "absent.toml")


def test_flags_lie_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text("data_dir = 'd'\n[scp]\nae_title = 'FILE'\nport = 105\n")
    settings = load_settings(file, {"scp": {"port": 106}})
    assert (settings.scp.ae_title, settings.scp.port) == ("FILE", 106)
    assert settings.data_dir == tmp_path / "d"


def test_parse_destination_and_peer() -> None:
    assert parse_destination("pacs=MY PACS@10.0.0.5:104") == {
        "name": "pacs", "ae_title": "MY PACS", "host": "10.0.0.5", "port": 104,
    }  # fmt: skip
    assert parse_peer("CT1") == {"ae_title": "CT1", "address": None}
    assert parse_peer("CT1@10.0.0.1") == {"ae_title": "CT1", "address": "10.0.0.1"}
    with pytest.raises(SettingsError, match="NAME=AET@HOST:PORT"):
        parse_destination("PACS@host")


def test_a_destination_gets_every_kind_unless_told() -> None:
    settings = load_settings(None, {"destinations": [{**parse_destination("p=A@h:1"), "results": ["report"]}]})
    assert settings.destinations[0].results == (ResultKind.REPORT,)
    assert settings.destination("q") is None


@pytest.mark.parametrize(
    ("results", "mistake"),
    [
        (["report", "picture"], r"destinations\[0\].results\[1\]: Input should be 'segmentation', 'report'"),
        (["report", "report"], r"destinations\[0\].results: .*'report' is named twice"),
        ([], r"destinations\[0\].results: .*at least 1 item"),
    ],
)
def test_results_of_a_destination_are_known_kinds_each_once(results: list[str], mistake: str) -> None:
    with pytest.raises(SettingsError, match=mistake):
        load_settings(None, {"destinations": [{**parse_destination("p=A@h:1"), "results": results}]})


def test_triton_needs_an_address_and_a_certificate_its_key(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^engine: .*needs triton\.addresses"):
        load_settings(None, {"engine": {"kind": "triton"}})
    wrong = {"kind": "triton", "triton": {"addresses": ["http://gpu:8001", "gpu"], "tls": {"certificate": "c.pem"}}}
    with pytest.raises(SettingsError) as caught:
        load_settings(None, {"engine": wrong})
    paths = [mistake.partition(":")[0] for mistake in caught.value.mistakes]
    assert paths == ["engine.triton.addresses[0]", "engine.triton.addresses[1]", "engine.triton.tls"]
    file = tmp_path / "node.toml"
    file.write_text(
        "[engine.triton]\naddresses = ['[::1]:8001', 'gpu-1.hospital:8001']\n[engine.triton.tls]\nca = 'ca.pem'\n"
    )
    tls = load_settings(file).engine.triton.tls
    assert tls is not None
    assert tls.ca == tmp_path / "ca.pem"


def test_tls_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text(
        "[scp.tls]\ncertificate = 'n.pem'\nkey = 'k.pem'\nca = '/etc/ca.pem'\n"
        "[[destinations]]\nname = 'p'\nae_title = 'P'\nhost = 'h'\nport = 1\n[destinations.tls]\nca = 'p.pem'\n"
        "[audit]\nfolder = 'trail'\n[audit.syslog]\nhost = 'h'\n[audit.syslog.tls]\nca = 's.pem'\n"
    )
    settings = load_settings(file)
    assert settings.scp.tls is not None
    assert settings.destinations[0].tls is not None
    assert settings.audit.syslog is not None
    paths = (settings.scp.tls.certificate, settings.scp.tls.key, settings.destinations[0].tls.ca)
    assert paths == (tmp_path / "n.pem", tmp_path / "k.pem", tmp_path / "p.pem")
    assert (settings.audit.folder, settings.audit.syslog.tls.ca) == (tmp_path / "trail", tmp_path / "s.pem")
    assert settings.scp.tls.ca == Path("/etc/ca.pem")


@pytest.mark.parametrize(
    ("scp", "mistake"),
    [
        ({"tls": {"certificate": "c"}}, r"scp\.tls\.key: Field required"),
        ({"port": 2762, "tls": {"certificate": "c", "key": "k", "port": 2762}}, r"scp: .*leave tls\.port out"),
        ({"peers": [{"ae_title": "A", "address": "10.0.0.1/8"}]}, r"scp\.peers\[0\]\.address: .*host bits set"),
        ({"peers": [{"ae_title": "A", "rights": []}]}, r"scp\.peers\[0\]\.rights: .*at least 1"),
        (
            {"peers": [{"ae_title": "A", "rights": ["find"]}]},
            r"rights\[0\]: Input should be 'echo', 'store' or 'commit'",
        ),
        ({"peers": [{"ae_title": "A", "certificate_name": "a"}]}, r"scp: .*peer A has a certificate_name"),
        (
            {
                "tls": {"certificate": "c", "key": "k"},
                "peers": [{"ae_title": "A", "certificate_name": "a"}],
            },
            r"without tls\.ca no peer shows a certificate",
        ),
        (
            {
                "peers": [
                    {"ae_title": "A", "address": "10.0.0.1", "commitment": {"host": "a", "port": 104}},
                    {"ae_title": "A", "address": "10.0.0.2", "commitment": {"host": "b", "port": 104}},
                ]
            },
            r"scp: .*peers called A must all have the same commitment section",
        ),
    ],
)
def test_mistakes_about_access(scp: dict[str, object], mistake: str) -> None:
    with pytest.raises(SettingsError, match=mistake):
        load_settings(None, {"scp": scp})


@pytest.mark.parametrize("name", [".", ".a", "a..b", "a" * 64, "a b", ""])
def test_names_of_hosts_can_be_looked_up(name: str) -> None:
    syslog = {"host": name, "tls": {"server_name": name}}
    with pytest.raises(SettingsError, match=r"audit\.syslog\.host: .*") as told:
        load_settings(None, {"audit": {"syslog": syslog}})
    assert any("audit.syslog.tls.server_name" in mistake for mistake in told.value.mistakes)


@pytest.mark.parametrize("name", ["10.0.0.1", "2001:db8::7", "audit.hospital.", "b\u00fccher_1"])
def test_names_and_addresses_of_hosts(name: str) -> None:
    assert load_settings(None, {"audit": {"syslog": {"host": name}}}).audit.syslog is not None


def test_certificate_towards_a_peer_has_its_key() -> None:
    wrong = {**parse_destination("p=A@h:1"), "tls": {"certificate": "c.pem"}}
    with pytest.raises(SettingsError, match=r"destinations\[0\]\.tls: .*go together"):
        load_settings(None, {"destinations": [wrong]})
