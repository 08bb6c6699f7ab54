"""Archives of the corpus."""

import subprocess


def unpack_archive(archive, folder, *names):
    """Unpacks a .tar.zst, or these of its files. It takes the zstd program: the window of some is 2 GiB."""
    zstd = subprocess.Popen(["zstd", "-dcq", "--long=31", archive], stdout=subprocess.PIPE)
    subprocess.run(["tar", "-x", "-C", folder, *names], stdin=zstd.stdout, check=True)
    zstd.stdout.close()
    if zstd.wait() != 0:
        raise RuntimeError(f"{archive} cannot be unpacked")
