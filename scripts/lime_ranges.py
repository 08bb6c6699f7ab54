"""LiME files that `quaid imagecopy` writes, for the scripts that compare what is in them."""

import struct


def lime_ranges(file):
    """The bytes of each range, by its first address."""
    ranges, at = {}, 0
    while at < len(file):
        _, _, first, last, _ = struct.unpack_from("<IIQQQ", file, at)
        ranges[first] = file[at + 32 : at + 33 + last - first]
        at += 33 + last - first
    return ranges
