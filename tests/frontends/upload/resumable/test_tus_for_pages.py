"""What the page of uploads needs of tus beyond the protocol: under which name a file is stored."""

from __future__ import annotations

from tests.frontends.upload.resumable.test_tus import TYPE, TusCase, digest, meta


class StoredNameTests(TusCase):
    """C{Content-Location}."""

    def test_patch_and_head(self) -> None:
        url = self.create("Upload-Length: 6", meta(filename="a b.txt", relativePath="c/a b.txt"))
        self.assertNotIn("content-location", self.patch(url, 0, b"abc").fields)
        self.assertNotIn("content-location", self.head(url).fields)
        last = self.patch(url, 3, b"def", f"Upload-Checksum: {digest('sha256', b'def')}")
        self.assertEqual(last.fields["content-location"], "/download/c/a%20b.txt")
        # For who did not get that answer.
        self.assertEqual(self.head(url).fields["content-location"], "/download/c/a%20b.txt")

    def test_in_one_request(self) -> None:
        fields = (TYPE, "Upload-Length: 3", meta(filename="a.txt"), f"Upload-Checksum: {digest('sha256', b'abc')}")
        names = [self.tus("POST /tus/", *fields, body=b"abc", status=201).fields["content-location"] for _ in range(2)]
        self.assertEqual(names[0], "/download/a.txt")
        self.assertNotEqual(names[1], names[0])

    def test_empty(self) -> None:
        answer = self.tus("POST /tus/", "Upload-Length: 0", meta(filename="empty"), body=b"", status=201)
        self.assertEqual(answer.fields["content-location"], "/download/empty")
