"""AOD by HTTPS: read where the server's authority is trusted, as grid users say whom; else a clear error, and once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from testbed import httpd
from testbed.servers import Missing

from tagsel.aod import arrays, reading
from tagsel.errors import AccessError
from tagsel.rootio import RootFile, remote
from tagsel.rootio.copying import checksum


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> httpd.Authority:
    """One who signs the certificates of the servers here, whom nobody trusts unless told to."""
    try:
        return httpd.Authority(tmp_path_factory.mktemp("authority"))
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture(autouse=True)
def nobody_is_trusted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of this machine says whom to trust, nor how servers behaved before."""
    for name in ("SSL_CERT_DIR", "SSL_CERT_FILE", "X509_CERT_DIR"):
        monkeypatch.setenv(name, "")  # so that it is as before afterwards, whatever is set meanwhile
        monkeypatch.delenv(name)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "nothing"))  # else OpenSSL reads the system's for each request
    monkeypatch.setattr(remote, "GRID_AUTHORITIES", str(tmp_path / "nothing"))
    monkeypatch.setattr(remote, "_silent", {})


@pytest.fixture
def served(sample: Any, authority: httpd.Authority, tmp_path: Path) -> Iterator[tuple[str, httpd.Sent]]:
    """A server of the sample's files."""
    for file in sample.files:
        shutil.copy(file.pfn, tmp_path / Path(file.pfn).name)
    with httpd.running(tmp_path, authority.certify()) as found:
        yield found


def away(sample: Any, address: str) -> Any:
    """The sample as a catalog knows it whose files are on a server only."""
    return replace(sample, files=[replace(f, pfn=f"{address}/{Path(f.pfn).name}") for f in sample.files])


@pytest.mark.parametrize("by", ["SSL_CERT_FILE", "X509_CERT_DIR", "the usual folder"])
def test_aod_is_read_from_a_server_whose_authority_is_trusted(
    sample: Any, authority: httpd.Authority, served: tuple[str, httpd.Sent], by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The events are those of the local files; its bytes, read through for a checksum, too."""
    if by == "the usual folder":
        monkeypatch.setattr(remote, "GRID_AUTHORITIES", str(authority.folder))
    else:
        monkeypatch.setenv(by, str(authority.file if by == "SSL_CERT_FILE" else authority.folder))
    events = sample.events(range(0, 120, 7))
    far = away(sample, served[0])
    assert served[0].startswith("https://")
    assert arrays(far.map(events), events, "MET_pt").to_list() == arrays(sample.map(events), events, "MET_pt").to_list()
    assert checksum(far.files[0].pfn) == checksum(sample.files[0].pfn)


def test_one_whose_authority_is_not_trusted_is_asked_once_and_sent_nothing(
    sample: Any, served: tuple[str, httpd.Sent]
) -> None:
    """Three files there, of which the first, of 50 events, has a copy here: that is read."""
    address, sent = served
    far = away(sample, address)
    here = sample.files[0]
    events = sample.events(range(120))
    mapped = far.map(events)
    spared = [replace(f, others=(here.pfn,)) if f.guid == here.guid else f for f in mapped.files]
    source = reading(replace(mapped, files=tuple(spared)), events, "MET_pt")
    delivered = sum(len(batch.rows) for batch in source)
    assert delivered == source.report.ledger.delivered == 50
    assert source.report.ledger.unreadable == 120 - delivered
    assert all(
        "has a certificate that is not good here: unable to get local issuer" in p.reason
        for p in source.report.problems
    )
    assert (sent.connections, sent.bytes) == (1, 0)


def test_the_error_says_what_is_wrong_and_what_to_do(
    sample: Any,
    authority: httpd.Authority,
    served: tuple[str, httpd.Sent],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody trusts its authority; or it is another server than the URL says, which trust does not mend."""
    name = Path(sample.files[0].pfn).name
    with pytest.raises(AccessError, match="127.0.0.1:[0-9]+ has a certificate that is not good here") as untrusted:
        RootFile(f"{served[0]}/{name}")
    assert "SSL_CERT_FILE" in untrusted.value.hint and "X509_CERT_DIR" in untrusted.value.hint
    with pytest.raises(AccessError, match="certificate that is not good here"):
        checksum(f"{served[0]}/{name}")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    other = authority.certify("DNS:se.example.org")
    with (
        httpd.running(tmp_path, other) as (address, _),
        pytest.raises(AccessError, match="IP address mismatch") as wrong,
    ):
        RootFile(f"{address}/{name}")
    assert wrong.value.hint == remote.UNTRUSTED[64]


def test_what_is_trusted_by_hand_stays_all_that_is(
    sample: Any,
    authority: httpd.Authority,
    served: tuple[str, httpd.Sent],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SSL_CERT_DIR is a folder of nobody: the grid's authorities do not count beside it."""
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    monkeypatch.setenv("X509_CERT_DIR", str(authority.folder))
    with pytest.raises(AccessError, match="not good here"):
        RootFile(f"{served[0]}/{Path(sample.files[0].pfn).name}")
