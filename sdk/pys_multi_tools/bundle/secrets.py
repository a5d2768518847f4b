"""Files that look like credentials: they never go into an artefact unless a person lists them."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

# Names, compared without case. Templates of environment files carry no values, so they are no credentials.
_NAMES = (
    (".env", "an environment file"),
    (".env.*", "an environment file"),
    (".envrc", "an environment file"),
    ("*.pem", "a key or certificate"),
    ("*.key", "a private key"),
    ("*.p8", "a private key"),
    ("*.p12", "a key store"),
    ("*.pfx", "a key store"),
    ("*.jks", "a key store"),
    ("*.keystore", "a key store"),
    ("*.ppk", "a private key"),
    ("*.kdbx", "a password store"),
    ("id_rsa*", "a private key"),
    ("id_dsa*", "a private key"),
    ("id_ecdsa*", "a private key"),
    ("id_ed25519*", "a private key"),
    ("credentials", "a credentials file"),
    ("credentials.json", "a credentials file"),
    ("client_secret*.json", "a credentials file"),
    ("service-account*.json", "a credentials file"),
    ("service_account*.json", "a credentials file"),
    ("application_default_credentials.json", "a credentials file"),
    ("kubeconfig", "a credentials file"),
    (".npmrc", "a registry's credentials"),
    (".pypirc", "a registry's credentials"),
    (".netrc", "a credentials file"),
    ("_netrc", "a credentials file"),
    (".git-credentials", "a credentials file"),
    (".htpasswd", "a password file"),
    (".dockercfg", "a registry's credentials"),
    ("*.tfstate", "a state file with secrets in it"),
    ("*.tfstate.backup", "a state file with secrets in it"),
)
_FOLDERS = {
    ".git": "a repository's history",
    ".hg": "a repository's history",
    ".svn": "a repository's history",
    ".aws": "a cloud's credentials",
    ".azure": "a cloud's credentials",
    ".gcloud": "a cloud's credentials",
    ".kube": "a cluster's credentials",
    ".ssh": "keys",
    ".gnupg": "keys",
    ".docker": "a registry's credentials",
}
_HARMLESS = re.compile(r"\.env\.(example|sample|template|dist)$|\.pub$", re.IGNORECASE)
_PRIVATE_KEY = re.compile(rb"\s*-----BEGIN [A-Z ]*PRIVATE KEY-----")
_SERVICE_ACCOUNT = re.compile(rb'"private_key"\s*:\s*"-----BEGIN')


def looks_like(path: str) -> str:
    """What kind of credential a path (a folder's ends with a slash) names; empty for none."""
    parts = PurePosixPath(path).parts
    for folder in parts if path.endswith("/") else parts[:-1]:
        if folder in _FOLDERS:
            return _FOLDERS[folder]
    name = parts[-1].lower() if parts else ""
    if _HARMLESS.search(name):
        return ""
    return next((kind for pattern, kind in _NAMES if fnmatchcase(name, pattern)), "")


def holds(data: bytes) -> str:
    """What kind of credential a file's content is, whatever its name; empty for none."""
    if _PRIVATE_KEY.match(data[:200]):
        return "a private key"
    if data[:1] == b"{" and _SERVICE_ACCOUNT.search(data[:4096]):
        return "a service account's key"
    return ""


def names_explicitly(pattern: str) -> bool:
    """Whether a glob was written with a certain file in mind: ``**`` or ``dir/*`` was not."""
    return bool(pattern.rstrip("/").rpartition("/")[2].strip("*?"))
