"""The client of Rucio: made from the user's configuration, its errors in our words.

Invariant: nothing of Rucio is imported before a client is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tagsel.errors import AccessError, CatalogError

TIMEOUT_S = 60
"""How long a server may take to answer one call, in seconds."""


def client(config: str, account: str) -> Any:
    """Return Rucio's client, logged in.

    AccessError where it is not installed or there is no such file; other errors as `translate_errors` has them.
    """
    try:
        from rucio.client import Client
        from rucio.common.config import clean_cached_config
    except ImportError as error:
        raise AccessError(f"rucio: {error}", hint='pip install "tagsel[rucio]"') from error
    if config:
        if not Path(config).is_file():
            raise AccessError(f"{config}: there is no such file", hint="--config names a rucio.cfg", path=config)
        if os.environ.get("RUCIO_CONFIG") != config:
            os.environ["RUCIO_CONFIG"] = config
            clean_cached_config()
    with translate_errors("log in"):
        return Client(account=account or None, timeout=TIMEOUT_S)


MEANINGS: Mapping[str, tuple[str, str]] = {
    "ConfigNotFound": ("it has no configuration", "--config names a rucio.cfg, or RUCIO_CONFIG or RUCIO_HOME does"),
    "MissingClientParameter": ("its configuration lacks something", "the [client] section of rucio.cfg"),
    "CannotAuthenticate": ("its server does not accept the credentials", "`rucio whoami` shows whether they are good"),
    "AccessDenied": ("its server does not allow it", "ask for the permission, or use another --account"),
    "DataIdentifierNotFound": ("there is no such name", "names are scope:name; `rucio did list` lists them"),
    "DataIdentifierAlreadyExists": ("the name is taken", "choose another"),
    "DuplicateContent": ("the file is in it already", ""),
    "FileAlreadyExists": ("the file is registered already", ""),
    "UnsupportedOperation": ("it is not possible as things are", "a closed dataset takes no more"),
    "RSENotFound": ("there is no such site", "`rucio rse list` lists them"),
    "ScopeNotFound": ("there is no such scope", "`rucio scope list` lists them"),
    "InvalidMetadata": ("its server does not keep such keys", "free keys need a server on PostgreSQL"),
    "InvalidRSEExpression": ("there is no such site", "`rucio rse list` lists them"),
    "InsufficientAccountLimit": ("the account has no quota there", "`rucio account limit` sets one"),
    "InsufficientTargetRSEs": ("no site can take it", ""),
    "SubscriptionDuplicate": ("it is subscribed to already", ""),
    "ServerConnectionException": ("its server does not answer", "is rucio_host in rucio.cfg right, and the server up?"),
    "ConnectionError": ("its server does not answer", "is rucio_host in rucio.cfg right, and the server up?"),
    "ConnectTimeout": ("its server does not answer", "try again later"),
    "ChunkedEncodingError": ("the answer of its server was cut off", "try again later"),
    "JSONDecodeError": ("the answer of its server was cut off", "try again later"),
    "RucioException": ("its server fails", "try again later, or tell whoever runs it"),
    "ReadTimeout": (f"its server took longer than {TIMEOUT_S} s", "try again later"),
}
"""What an error of the client means, and what to do, by the name of its class."""


@contextmanager
def translate_errors(doing: str, name: str = "") -> Iterator[None]:
    """Turn errors of the client into ours, which state the action, the meaning and the server's words."""
    try:
        yield
    except (CatalogError, AccessError):
        raise
    except Exception as error:
        if not type(error).__module__.startswith(("rucio", "requests", "urllib3", "json")):
            raise
        kind = type(error).__name__
        meaning, hint = MEANINGS.get(kind, (f"its server says {kind}", ""))
        details = " ".join(str(error).split()).replace("Details: ", "")[:200]
        message = f"rucio could not {doing}: {meaning} ({details})"
        raise CatalogError(message, hint=hint, dataset=name, kind=kind) from error
