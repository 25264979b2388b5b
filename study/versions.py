"""Which version of a package is at work."""

import importlib.metadata


def version(package: str) -> str:
    """The installed version; for eyetune run from a bare checkout, that it is one."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "from a checkout" if package == "eyetune" else "not installed"
