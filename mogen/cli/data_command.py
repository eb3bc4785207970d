"""mogen data: data sets by name."""

from __future__ import annotations


def get(name: str, *, url: str, sha256: str) -> None:
    """Download a data set from an address and keep it if its checksum is right.

    Args:
        name: the name under which it will be found
        url: where the file is
        sha256: its SHA-256, 64 hexadecimal digits
    """
    from mogen.dataset import download

    print(f"{name}: downloaded to {download(name, url, sha256)}")


def import_(name: str, file: str) -> None:
    """Copy a file into the data folder under a name.

    Args:
        name: the name under which it will be found
        file: the file to copy
    """
    from mogen.dataset import DATASETS, import_file

    kept = import_file(name, file)
    size = kept.stat().st_size / 1e6
    print(f"{name}: {file} copied to {kept} ({size:.3g} MB), as it is: what it holds was not looked at")
    if name in DATASETS:
        print(f"mogen takes it from now on for {DATASETS[name].content}; {DATASETS[name].source}")


def list_() -> None:
    """Show which data sets are known and where they were found."""
    from mogen.dataset import DATASETS, folders, listing
    from mogen.dataset.generated import RECIPES

    print("searched: " + ", ".join(str(folder) for folder in folders()))
    for item in listing():
        known = DATASETS.get(item.name)
        print(f"{item.name:<22} {item.path or 'not found'}" + (f"  ({known.content}; {known.source})" if known else ""))
    print(f"graphs made by recipe, without a file: {', '.join(RECIPES)}")


COMMAND = {"get": get, "import": import_, "list": list_}
