"""Files of the data folder: private to the owner and written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
import tempfile
import uuid


def private_folder(path: Path) -> Path:
    """Make a folder, where it is missing, that only its owner may enter."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def write_private(path: Path, content: bytes) -> None:
    """Replace a file in one step, mode 0600, so that a crash leaves the old one."""
    private_folder(path.parent)
    # mkstemp makes the file 0600 from its first moment.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def installation_id(data_dir: Path) -> str:
    """The id that stays the same for the life of this data folder."""
    path = data_dir / "id"
    if path.exists() and (known := path.read_text("ascii").strip()):
        return known
    made = str(uuid.uuid4())
    write_private(path, made.encode() + b"\n")
    return made
