"""Builds what a recorded migration runs: a kernel of the distribution and our guest as its init.

The guest is one static C program (``src/guest.c``), /init of an initramfs that holds nothing else.
The kernel is one that the system has, or that of a Debian package, unpacked without installing.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from migsim.errors import InputError

__all__ = ["Kit", "build", "cache_directory", "newc_archive"]

_SOURCES = Path(__file__).parent / "src"
_META_PACKAGE = "linux-image-cloud-amd64"
_STATIC = ("-O2", "-static")


class Kit(NamedTuple):
    """The files that a run needs.

    Attributes:
        kernel: a file ``vmlinuz-VERSION``.
        initramfs: holds the guest's /init.
        relay: the program of an emulated link.
    """

    kernel: Path
    initramfs: Path
    relay: Path

    @property
    def kernel_version(self) -> str:
        """The version that the kernel's file name tells."""
        return self.kernel.name.removeprefix("vmlinuz-")

    @property
    def guest_version(self) -> str:
        """The digest of the guest's source, so that recordings tell which guest they had."""
        return self.initramfs.name.split("-")[1].partition(".")[0]


def cache_directory() -> Path:
    """Return where built things are kept, below ``XDG_CACHE_HOME`` or ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Path(base).expanduser() / "migsim" / "qemu"
    except RuntimeError:
        raise InputError("found no home directory, expected XDG_CACHE_HOME to be set") from None


def build(folder: Path | None = None, kernel: Path | None = None) -> Kit:
    """Return the kit, built where the folder does not hold it yet.

    The kernel is the one given, or the newest of the folder, or of /boot, or that of Debian's
    cloud kernel package, which apt then downloads. Raises `InputError` where one is not to be had,
    or where the folder cannot be written.
    """
    folder = cache_directory() if folder is None else folder
    if kernel is not None and not kernel.is_file():
        raise InputError(f"{kernel}: no such file, expected a kernel image")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return Kit(
            kernel=kernel or _installed_kernel(folder) or _download_kernel(folder),
            initramfs=_initramfs(folder),
            relay=_compiled(folder, "relay.c", ("-O2", "-pthread")),
        )
    except OSError as error:
        raise InputError(f"{folder}: cannot keep what is built: {error.strerror}") from None


def newc_archive(files: dict[str, tuple[int, bytes]]) -> bytes:
    """Return a cpio archive in the format of the kernel's initramfs, from names to mode and bytes.

    >>> newc_archive({"init": (0o100755, b"x")})[:6]
    b'070701'
    """
    parts = []
    for number, (name, (mode, content)) in enumerate([*files.items(), ("TRAILER!!!", (0, b""))], 1):
        path = name.encode() + b"\0"
        # inode, mode, uid, gid, links, time, size, device and its device (two each), name, sum
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path), 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + path
        parts += [_padded(head), _padded(content)]
    return b"".join(parts)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)


def _initramfs(folder: Path) -> Path:
    init = _compiled(folder, "guest.c", _STATIC)
    path = init.with_suffix(".cpio.gz")
    if not path.exists():
        archive = newc_archive({"init": (0o100755, init.read_bytes())})
        _replace(path, gzip.compress(archive, 1, mtime=0))
    return path


def _compiled(folder: Path, source: str, flags: tuple[str, ...]) -> Path:
    """Return the program of a source file; the name in the cache tells source and flags."""
    path = _SOURCES / source
    digest = hashlib.sha256(path.read_bytes() + repr(flags).encode()).hexdigest()[:12]
    program = folder / f"{path.stem}-{digest}"
    if program.exists():
        return program
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise InputError("the guest is a C program: found no gcc, expected apt's gcc and libc6-dev")
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made = Path(scratch) / "program"
        _run([compiler, *flags, "-o", str(made), str(path)])
        made.replace(program)
    return program


def _replace(path: Path, content: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    Path(file.name).replace(path)


def _version_key(path: Path) -> tuple[bool, list[int]]:
    return "cloud" in path.name, [int(digits) for digits in re.findall(r"\d+", path.name)]


def _installed_kernel(folder: Path) -> Path | None:
    # A cloud kernel before others, since it has what a virtual machine needs built in.
    for place in (folder, Path("/boot")):
        found = [path for path in place.glob("vmlinuz-*") if os.access(path, os.R_OK)]
        if found:
            return max(found, key=_version_key)
    return None


def _download_kernel(folder: Path) -> Path:
    """Return the kernel of Debian's package, taken from it by apt and dpkg without installing."""
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise InputError(
            "found no kernel image /boot/vmlinuz-* and no apt-get to download one, "
            "expected --kernel FILE"
        )
    package = _newest_package()
    with _scratch(folder) as scratch:
        _run(["apt-get", "download", "-qq", package], folder=scratch)
        archives = list(scratch.glob("*.deb"))
        if not archives:
            raise InputError(f"apt-get download {package}: brought no package")
        return unpack_kernel(archives[0], folder)


def unpack_kernel(archive: Path, folder: Path) -> Path:
    """Return the kernel image of a Debian package, copied into the folder."""
    with _scratch(folder) as scratch:
        _run(["dpkg", "-x", str(archive), str(scratch)])
        images = list((scratch / "boot").glob("vmlinuz-*"))
        if not images:
            raise InputError(f"{archive}: holds no boot/vmlinuz-*, expected a kernel package")
        target = folder / images[0].name
        images[0].replace(target)
        return target


def _newest_package() -> str:
    """Return the package that the meta-package depends on."""
    try:
        told = _run(["apt-cache", "depends", _META_PACKAGE])
    except InputError:  # it ends with a status where its lists do not have the package
        told = ""
    found = re.search(r"Depends: (linux-image-\S+)", told)
    if found is None:
        raise InputError(
            f"apt knows no {_META_PACKAGE}, expected Debian's package lists "
            "(apt-get update) or --kernel FILE"
        )
    return found[1]


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=folder) as name:
        # apt drops its rights to read and write here where it runs as root.
        Path(name).chmod(0o755)
        yield Path(name)


def _run(command: list[str], folder: Path | None = None) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        told = (done.stderr or done.stdout).strip().splitlines()
        raise InputError(f"{' '.join(command)}: {told[-1] if told else 'failed'}")
    return done.stdout
