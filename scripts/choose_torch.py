"""Choose PyTorch's build: ask pip which one its configuration gives, say its size, and pin exactly that one.

`scripts/choose_torch.py DIRECTORY` writes requirements.txt (PyTorch, with the hashes of locks/torch.txt) and
constraints.txt (all that some build needs, with hashes) there, for `pip install --require-hashes -r ... -c ...`. pip
prefers a file whose hash its index states to one that lies in a folder; so the build must be chosen without hashes.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable
from pathlib import Path

from locks import HEADER, ROOT, TORCH, canonical, pip_report, read_lock, sha256_of

TIMEOUT_S = 10.0


def main() -> None:
    """Print one line: build and size."""
    directory = Path(sys.argv[1])
    lock = read_lock(ROOT / TORCH)
    torch = next(locked for locked in lock if locked.name == "torch")
    bare = directory / "versions.txt"
    bare.write_text("".join(f"{one.name}=={one.version} ; {one.marker}\n" for one in lock), encoding="utf-8")
    try:
        report = pip_report([f"torch=={torch.version}", "-c", str(bare)])
    except subprocess.CalledProcessError as error:
        sys.exit(f"prepare: pip finds no PyTorch {torch.version} for this Python and machine:\n{error.stderr[-2000:]}")
    items = {canonical(str(item["metadata"]["name"])): item for item in report}
    if "torch" not in items:  # it is installed: the version in force
        version = torch.version
    else:
        version = str(items["torch"]["metadata"]["version"])
        sha256 = sha256_of(items["torch"])
        if sha256 and sha256 not in torch.hashes:
            sys.exit(
                f"prepare: pip would take PyTorch {version}, a build whose hash is not in {TORCH}; take it unlocked "
                f"(TORCH='torch=={version}' make ...), or add it to the lock (make locks)"
            )
    packages = re.split(r"\n(?=[A-Za-z0-9])", (ROOT / TORCH).read_text(encoding="utf-8").removeprefix(HEADER))
    own = next(package for package in packages if package.startswith("torch=="))
    others = [package for package in packages if package is not own]
    pinned = own.replace(f"torch=={torch.version}", f"torch=={version}", 1)
    (directory / "requirements.txt").write_text(pinned + "\n", encoding="utf-8")
    (directory / "constraints.txt").write_text("\n".join(others) + "\n", encoding="utf-8")
    print(f"PyTorch {version}: {say_size(str(item['download_info']['url']) for item in items.values())}")


def say_size(urls: Iterable[str]) -> str:
    """How much is to be downloaded, and what comes from this machine's disk."""
    far, near, unknown = 0, 0, 0
    for url in urls:
        if url.startswith("file:"):
            near += os.path.getsize(urllib.parse.unquote(urllib.parse.urlsplit(url).path))
        elif (size := size_of(url)) is not None:
            far += size
        else:
            unknown += 1
    parts = [f"{far / 1e6:,.0f} MB to download"]
    if near:
        parts.append(f"{near / 1e6:,.0f} MB from this machine's disk")
    if unknown:
        parts.append(f"{unknown} files of unknown size")
    return ", ".join(parts)


def size_of(url: str) -> int | None:
    """The length of a file in bytes, asked for without fetching it; None if the server does not say."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=TIMEOUT_S) as answer:
            return int(answer.headers["Content-Length"])
    except (OSError, ValueError, TypeError):
        return None


if __name__ == "__main__":
    main()
