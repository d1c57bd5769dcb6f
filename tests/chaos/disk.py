"""A small disk of its own for a run, which can be filled. Needs root."""
import errno
import os
import subprocess
import tempfile
from pathlib import Path

PIECE = 1 << 20


class Disk:
    def __init__(self, folder, megabytes):
        self.folder = folder
        self.full = False
        folder.mkdir()
        done = subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={megabytes}m', 'tmpfs', str(folder)],
                              capture_output=True, text=True, check=False, timeout=30)
        if done.returncode != 0:
            raise RuntimeError(f'a tmpfs cannot be mounted on {folder}: {done.stderr.strip()}')

    def fill(self):
        """To the last byte; returns how many it took."""
        written = 0
        self.full = True
        with open(self.folder / 'ballast', 'ab', buffering=0) as ballast:
            for piece in (PIECE, 4096, 1):
                try:
                    while n := ballast.write(bytes(piece)):
                        written += n
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
        return written

    def empty(self):
        (self.folder / 'ballast').unlink(missing_ok=True)
        self.full = False

    def close(self):
        subprocess.run(['umount', '-l', str(self.folder)], capture_output=True, check=False, timeout=30)


def missing():
    """Why this cannot be had here, or None."""
    if os.geteuid() != 0:
        return 'mounting a tmpfs takes root'
    try:
        with tempfile.TemporaryDirectory(prefix='sp-', dir='/tmp') as folder:
            Disk(Path(folder) / 'disk', 1).close()
    except (RuntimeError, OSError) as error:
        return str(error)
    return None
