"""The Xet content store of the loopback Hub: takes xorbs and shards, rebuilds each file and checks its SHA-256.

Written from the public protocol (https://huggingface.co/docs/xet): a xorb is a row of compressed chunks, a shard says
of which chunks of which xorbs a file is made. Hashes of xorbs and files are taken as the client says them.
"""

import hashlib
import re


class XetStore:
    """What was uploaded: `xorbs` by hash, `files` by SHA-256 (`hash`, `size` and `terms`), `sha256` by file hash."""

    def __init__(self):
        self.xorbs, self.files, self.sha256 = {}, {}, {}

    def hash_of(self, sha256: str) -> str | None:
        return self.files[sha256]["hash"] if sha256 in self.files else None

    def add_shard(self, data: bytes) -> list[bytes]:
        """The files that a shard describes.

        Raises:
            `ValueError`: it names bytes that are not there, or a file with another SHA-256 than they have.
        """
        if data[:14] != b"HFRepoMetaData":
            raise ValueError("wrong magic")
        at, made = 48, []
        while data[at:at + 32] != b"\xff" * 32:
            if at + 48 > len(data):
                raise ValueError("truncated")
            name, flags, count = hash_at(data, at), word(data, at + 32), word(data, at + 36)
            entries = range(at + 48, at + 48 * (count + 1), 48)
            terms = [(hash_at(data, e), word(data, e + 36), word(data, e + 40), word(data, e + 44)) for e in entries]
            at += 48 * (1 + count * (2 if flags >> 31 & 1 else 1))
            content = b"".join(self.piece(*term) for term in terms)
            sha256 = hashlib.sha256(content).hexdigest()
            if flags >> 30 & 1:
                if hash_at(data, at) != sha256:
                    raise ValueError(f"{name}: sha256 is {sha256}, {hash_at(data, at)} declared")
                at += 48
            self.files[sha256] = {"hash": name, "size": len(content), "terms": terms}
            self.sha256[name] = sha256
            made.append(content)
        return made

    def piece(self, xorb, length, first, end) -> bytes:
        if xorb not in self.xorbs:
            raise ValueError(f"no xorb {xorb}")
        data = self.xorbs[xorb]
        part = b"".join(chunk_bytes(data, chunk) for chunk in chunks_of(data)[first:end])
        if len(part) != length:
            raise ValueError(f"segment of {xorb} has {len(part)} bytes, {length} declared")
        return part

    def reconstruction(self, name: str, wanted: str, url_of) -> dict | None:
        """Which bytes of which xorbs make up (the `wanted` range of) a file, and the addresses to get them from.

        Returns:
            `dict`, or None if the range lies beyond the file.
        """
        info = self.files[self.sha256[name]]
        bounds = re.match(r"bytes=(\d+)-(\d+)$", wanted)
        first, last = (int(bounds[1]), min(int(bounds[2]), info["size"] - 1)) if bounds else (0, info["size"] - 1)
        if first > last:
            return None
        terms, spans, at, skip = [], {}, 0, None
        for xorb, length, begin, end in info["terms"]:
            chunks = chunks_of(self.xorbs[xorb])
            here, at = at, at + length
            if at <= first or here > last:
                continue
            while here + chunks[begin][3] <= first:  # whole chunks before the range
                here, begin = here + chunks[begin][3], begin + 1
            skip = first - here if skip is None else skip
            stop, size = begin, 0
            while stop < end and here + size <= last:
                size, stop = size + chunks[stop][3], stop + 1
            terms.append({"hash": xorb, "unpacked_length": size, "range": {"start": begin, "end": stop}})
            spans.setdefault(xorb, []).append((begin, stop))
        fetch = {xorb: [self.fetch(xorb, url_of(xorb), *span) for span in merged(found)]
                 for xorb, found in spans.items()}
        return {"offset_into_first_range": skip or 0, "terms": terms, "fetch_info": fetch}

    def fetch(self, xorb, url, begin, end):
        chunks = chunks_of(self.xorbs[xorb])
        return {"range": {"start": begin, "end": end}, "url": url,
                "url_range": {"start": chunks[begin][0], "end": chunks[end - 1][1] - 1}}


def merged(spans):
    """Clients want them disjoint."""
    found = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            begin, end = found[-1][0], max(end, found.pop()[1])
        found.append((begin, end))
    return found


def word(data, at) -> int:
    return int.from_bytes(data[at:at + 4], "little")


def hash_at(data, at) -> str:
    """A hash as the protocol writes it: four little-endian words, each printed as hex."""
    return "".join(data[i:i + 8][::-1].hex() for i in range(at, at + 32, 8))


def chunks_of(data: bytes) -> list[tuple[int, int, int, int]]:
    """(offset, end, compression scheme, length when unpacked) of each chunk of a xorb."""
    at, chunks = 0, []
    while at + 8 <= len(data) and data[at:at + 7] != b"XETBLOB":
        size, length = int.from_bytes(data[at + 1:at + 4], "little"), int.from_bytes(data[at + 5:at + 8], "little")
        if data[at] != 0 or at + 8 + size > len(data):
            raise ValueError("bad chunk")
        chunks.append((at, at + 8 + size, data[at + 4], length))
        at += 8 + size
    if not chunks:
        raise ValueError("empty xorb")
    return chunks


def chunk_bytes(data: bytes, chunk) -> bytes:
    start, end, scheme, length = chunk
    body = lz4_frame(data[start + 8:end]) if scheme else data[start + 8:end]
    if scheme == 2:  # bytes grouped by their position modulo 4 before compression
        grouped, body, at = body, bytearray(len(body)), 0
        for k in range(4):
            size = (len(grouped) + 3 - k) // 4
            body[k::4], at = grouped[at:at + size], at + size
    if len(body) != length:
        raise ValueError("chunk length mismatch")
    return bytes(body)


def lz4_frame(data: bytes) -> bytes:
    """Unpacks an LZ4 frame (https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md)."""
    flags, out = data[4], bytearray()
    at = 7 + (8 if flags & 8 else 0) + (4 if flags & 1 else 0)
    while size := word(data, at):
        block = data[at + 4:at + 4 + (size & 0x7FFFFFFF)]
        at += 4 + len(block) + (4 if flags & 16 else 0)
        if size >> 31:
            out += block
        else:
            lz4_block(block, out)
    return bytes(out)


def lz4_block(block: bytes, out: bytearray) -> None:
    """Appends what a block unpacks to; it may refer to what is in `out` before it."""
    at = 0

    def length(low):
        nonlocal at
        more = 255 if low == 15 else 0
        while more == 255:
            more = block[at]
            low, at = low + more, at + 1
        return low

    while at < len(block):
        token = block[at]
        at += 1
        literals = length(token >> 4)
        out += block[at:at + literals]
        at += literals
        if at >= len(block):
            return
        offset = block[at] | block[at + 1] << 8
        at += 2
        size = length(token & 15) + 4
        start = len(out) - offset
        while size:  # in turns: it may refer to what it is about to write
            piece = bytes(out[start:start + size])
            out += piece
            size -= len(piece)
