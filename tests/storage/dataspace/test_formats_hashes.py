"""Tests of the hashes of L{storehouse.storage.dataspace.formats}: they are those that others compute under these names."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from storehouse.storage.dataspace.formats import HASHES, Hash, find_hash

# HighwayHash256 of the bytes 0, 1, ..., n-1 with the key 0, 1, ..., 31, by n: kExpected256 in
# highwayhash/highwayhash_test.cc of github.com/google/highwayhash (f8381f3), its words little-endian.
HIGHWAY_KEY = bytes(range(32))
HIGHWAY = {
    0: "f574c8c22a4844dd1f35c713730146d9ff1487b9ccbeaeb3f41d75453123da41",
    1: "54825fe4bc41b9ed0fc6ca3def440de2474a32cb9b1b657284e475b24c627320",
    2: "54e4af24dff9df3f73e80a1b1abfc4117a592269cc6951112cb4330d59f60812",
    3: "5cd9d10dd7a00a48d0d111697c5e22895a86bb8b6b42a88e22c7e190c3fb3de2",
    4: "dce42b2197c4cfc99b92d2aff69d5fa89e10f41d219fda1f9b4f4d377a27e407",
    7: "81ad8709a0b166d6376d8ceb38f8f1a430e063d4076e22e96c522c067dd65457",
    8: "c08b76edb005b9f1453afffcf36f97e67897d0d98d51be4f330d1e37ebafa0d9",
    15: "2e604278700519c146b1018501dbc362c10634fa17adf58547c3fed47bf884c8",
    16: "1fcdb6a189d91af5d97b622ad675f0f7068af279f5d5017e9f4d176ac115d41a",
    17: "8e06a42ca8cff419b975923abd4a9d3bc610c0e9ddb000801356214909d58488",
    31: "4d641a6076e28068dab70fb1208b72b36ed110060612bdd0f22e4533ef14ef8a",
    32: "fec3a139908ce3bc8912c1a32663d542a9aefc64f79555e3995a47c96b3cb0c9",
    33: "e5a634f0cb1501f6d046cebf75ea366c90597282d3c8173b357a0011eda2da7e",
    47: "a4a023f88be189d1d7a701e53b353b1f84282ee0b4774fa20c18f9746f64947e",
    63: "67eb3a6a26f8b1f5dd1aec4dbe40b083aefb265b63c8e17f9fd7fede47a4a3f4",
    64: "7524c16affe6d890f2c1da6e192a421a02b08e1ffe65379ebecf51c3c4d7bdc1",
}

# BLAKE3 of the bytes i % 251, by their number, without a key and with one: test_vectors/test_vectors.json of
# github.com/BLAKE3-team/BLAKE3 (77b257e), the first 32 bytes.
BLAKE3_KEY = b"whats the Elvish word for friend"
BLAKE3 = {
    0: (
        "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
        "92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26",
    ),
    1: (
        "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
        "6d7878dfff2f485635d39013278ae14f1454b8c0a3a2d34bc1ab38228a80c95b",
    ),
    1023: (
        "10108970eeda3eb932baac1428c7a2163b0e924c9a9e25b35bba72b28f70bd11",
        "c951ecdf03288d0fcc96ee3413563d8a6d3589547f2c2fb36d9786470f1b9d6e",
    ),
    1024: (
        "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
        "75c46f6f3d9eb4f55ecaaee480db732e6c2105546f1e675003687c31719c7ba4",
    ),
    1025: (
        "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444",
        "357dc55de0c7e382c900fd6e320acc04146be01db6a8ce7210b7189bd664ea69",
    ),
    2049: (
        "5f4d72f40d7a5f82b15ca2b2e44b1de3c2ef86c426c95c1af0b6879522563030",
        "9f29700902f7c86e514ddc4df1e3049f258b2472b6dd5267f61bf13983b78dd5",
    ),
    102400: (
        "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085",
        "1c35d1a5811083fd7119f5d5d1ba027b4d01c0c6c49fb6ff2cf75393ea5db4a7",
    ),
}

# RFC 3720, B.4. It lists the bytes of the CRC in the order in which iSCSI sends them; these are the numbers.
CRC32C = {
    bytes(32): "8a9136aa",
    b"\xff" * 32: "62a8ab43",
    bytes(range(32)): "46dd794e",
    bytes(range(31, -1, -1)): "113fdb5c",
    bytes.fromhex(
        "01c00000 00000000 00000000 00000000 14000000 00000400 00000014 00000018 28000000 00000000 02000000 00000000"
    ): "d9963a56",
    b"123456789": "e3069283",  # the check value of the CRC catalogue
}

KEYS = {"HighwayHash256": (b"", HIGHWAY_KEY), "BLAKE3": (b"", BLAKE3_KEY), "CRC32C": (b"",)}
ALL = [find_hash(name, key) for name in HASHES for key in KEYS[name]]


def pattern(size: int) -> bytes:
    return bytes(i % 251 for i in range(size))


def in_pieces(hash: Hash, pieces: list[bytes]) -> bytes:
    assert hash.start is not None
    hasher = hash.start()
    for piece in pieces:
        hasher.update(piece)
    return hasher.digest()


class VectorTests(SynchronousTestCase):
    """Test vectors of independent implementations."""

    def test_highwayhash(self) -> None:
        hash = find_hash("HighwayHash256", HIGHWAY_KEY)
        self.assertEqual({size: hash.digest(bytes(range(size))).hex() for size in HIGHWAY}, HIGHWAY)

    def test_blake3(self) -> None:
        plain, keyed = find_hash("BLAKE3"), find_hash("BLAKE3", BLAKE3_KEY)
        for size, expected in BLAKE3.items():
            data = pattern(size)
            self.assertEqual((plain.digest(data).hex(), keyed.digest(data).hex()), expected, size)

    def test_crc32c(self) -> None:
        hash = find_hash("CRC32C")
        self.assertEqual({data: hash.digest(data).hex() for data in CRC32C}, CRC32C)

    def test_no_key(self) -> None:
        """No key is 32 zero bytes for HighwayHash256, and none for BLAKE3."""
        highway, blake = (
            [find_hash(name, key).digest(b"x") for key in (b"", bytes(32))] for name in ("HighwayHash256", "BLAKE3")
        )
        self.assertEqual(highway[0], highway[1])
        self.assertNotEqual(blake[0], blake[1])


class PiecesTests(SynchronousTestCase):
    """A block that comes in pieces has the checksum of the whole."""

    def test_splits(self) -> None:
        """Every way to cut a block in two, and all its bytes one by one."""
        data = pattern(131)
        for hash in ALL:
            whole = hash.digest(data)
            self.assertEqual(len(whole), hash.length)
            if hash.start is None:
                continue
            self.assertEqual(
                {in_pieces(hash, [data[:at], data[at:]]) for at in range(len(data) + 1)}, {whole}, hash.name
            )
            self.assertEqual(in_pieces(hash, [data[at : at + 1] for at in range(len(data))]), whole)
            self.assertEqual(in_pieces(hash, []), hash.digest(b""))

    @settings(deadline=None, max_examples=60)
    @given(st.lists(st.binary(max_size=3000), max_size=6))
    def test_pieces(self, pieces: list[bytes]) -> None:
        for hash in ALL:
            if hash.start is not None:
                self.assertEqual(in_pieces(hash, pieces), hash.digest(b"".join(pieces)), hash.name)

    def test_several_at_once(self) -> None:
        """Blocks that are begun do not share anything."""
        for hash in ALL:
            if hash.start is None:
                continue
            one, other = hash.start(), hash.start()
            one.update(b"a")
            other.update(b"b")
            one.update(b"c")
            self.assertEqual((one.digest(), other.digest()), (hash.digest(b"ac"), hash.digest(b"b")))


class FindTests(SynchronousTestCase):
    """L{find_hash}."""

    def test_names(self) -> None:
        self.assertEqual(HASHES, ("HighwayHash256", "BLAKE3", "CRC32C"))
        for name, length in zip(HASHES, (32, 32, 4), strict=True):
            for key in KEYS[name]:
                hash = find_hash(name, key)
                self.assertEqual((hash.name, hash.length, hash.key), (name, length, key))

    def test_keys_matter(self) -> None:
        for name in ("HighwayHash256", "BLAKE3"):
            self.assertEqual(len({find_hash(name, bytes([n]) * 32).digest(b"x") for n in range(1, 9)}), 8)

    def test_unknown(self) -> None:
        """The text names what was asked for, and what there is."""
        for name in ("", "highwayhash256", "MD5", "CRC32C\n", "HighwayHash64"):
            error = self.assertRaises(ValueError, find_hash, name)
            for part in (repr(name), *HASHES):
                self.assertIn(part, str(error))
        self.assertLess(len(str(self.assertRaises(ValueError, find_hash, "x" * 10**6))), 300)

    def test_wrong_keys(self) -> None:
        """The text names the length of the key, and the hash."""
        for name, lengths in (("HighwayHash256", (1, 16, 31, 33, 64)), ("BLAKE3", (1, 31, 33)), ("CRC32C", (1, 4, 32))):
            for length in lengths:
                text = str(self.assertRaises(ValueError, find_hash, name, bytes(length)))
                self.assertIn(f"{length} bytes", text)
                self.assertIn(name, text)
