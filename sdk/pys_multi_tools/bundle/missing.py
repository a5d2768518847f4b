"""From a module that is missing to the distribution that has it, and other reasons why it is missing."""

from __future__ import annotations

from collections.abc import Iterable

# Only names that differ: for the others the distribution has the module's name.
DISTRIBUTIONS = {
    "attr": "attrs",
    "azure.functions": "azure-functions",
    "azure.storage": "azure-storage-blob",
    "bs4": "beautifulsoup4",
    "Crypto": "pycryptodome",
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "dns": "dnspython",
    "docx": "python-docx",
    "dotenv": "python-dotenv",
    "fitz": "PyMuPDF",
    "git": "GitPython",
    "google.cloud.bigquery": "google-cloud-bigquery",
    "google.cloud.firestore": "google-cloud-firestore",
    "google.cloud.pubsub": "google-cloud-pubsub",
    "google.cloud.storage": "google-cloud-storage",
    "google.protobuf": "protobuf",
    "googleapiclient": "google-api-python-client",
    "grpc": "grpcio",
    "ibm_db_dbi": "ibm-db",
    "jose": "python-jose",
    "jwt": "PyJWT",
    "kafka": "kafka-python",
    "ldap": "python-ldap",
    "magic": "python-magic",
    "MySQLdb": "mysqlclient",
    "nacl": "PyNaCl",
    "OpenSSL": "pyOpenSSL",
    "osgeo": "GDAL",
    "PIL": "Pillow",
    "pkg_resources": "setuptools",
    "pptx": "python-pptx",
    "psycopg2": "psycopg2-binary",
    "serial": "pyserial",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "slugify": "python-slugify",
    "socks": "PySocks",
    "telegram": "python-telegram-bot",
    "usb": "pyusb",
    "win32api": "pywin32",
    "yaml": "PyYAML",
    "zmq": "pyzmq",
}


def distribution_of(module: str) -> str:
    """The distribution that probably has a module."""
    parts = module.split(".")
    for end in range(len(parts), 0, -1):
        found = DISTRIBUTIONS.get(".".join(parts[:end]))
        if found:
            return found
    return parts[0].replace("_", "-")


def hint(module: str, *, installed: Iterable[str], left_out: Iterable[tuple[str, str]], own: Iterable[str]) -> str:
    """What to do about a missing module.

    installed: names of the distributions in the artefact. left_out: files of the project that stayed out, and
    why. own: top-level names of the user's code.
    """
    path = module.replace(".", "/")
    for name, reason in left_out:
        inner = name.removeprefix("src/")
        if inner in (f"{path}.py", f"{path}/__init__.py") or (inner.endswith("/") and f"{path}/".startswith(inner)):
            asked = f"{name}**" if name.endswith("/") else name
            return f"{name} was left out: {reason}. If the service needs it: include = [{asked!r}]"
    top, distribution = module.partition(".")[0], distribution_of(module)
    if any(part in ("tests", "test") for part in module.split(".")):
        return f"test code of distributions is left out. If it is needed: include = ['{path}/**']"
    if top in set(own):
        return f"the project has no module {module}: check its name and the folder's __init__.py"
    if distribution.lower().replace("_", "-") in {name.lower() for name in installed}:
        return f"{distribution} is in the artefact and does not have {module}: check the version"
    return f"it probably comes with {distribution}: add that to the dependencies, and lock again where there is a lock"
