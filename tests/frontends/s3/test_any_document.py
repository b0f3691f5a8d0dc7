"""Documents of any form, wherever the S3 door takes one: each is taken, or refused by the client's own fault."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from storehouse.core.streams import BytesStream
from storehouse.core.xmltext import document, element, text
from tests.frontends.s3.playing import S3Case
from tests.frontends.s3.test_tagging import md5_of

#: Where, and what elements mean something there.
PLACES = {
    "POST /box?delete": "Delete Object Key ETag Size LastModifiedTime VersionId Quiet",
    "POST /box/a?uploadId={id}": "CompleteMultipartUpload Part PartNumber ETag ChecksumCRC32 ChecksumCRC64NVME ChecksumX",
    "PUT /box?cors": "CORSConfiguration CORSRule ID AllowedOrigin AllowedMethod AllowedHeader ExposeHeader MaxAgeSeconds",
    "PUT /box?notification": "NotificationConfiguration QueueConfiguration Queue TopicConfiguration Topic Id Event Filter S3Key "
    "FilterRule Name Value",
    "PUT /box?tagging": "Tagging TagSet Tag Key Value",
    "PUT /box/a?tagging": "Tagging TagSet Tag Key Value",
}

VALUES = st.sampled_from(
    [
        "",
        "a",
        "1",
        "0",
        "-1",
        "10000",
        "99999999999999999999",
        "*",
        "GET",
        "true",
        "null",
        "2001-09-09T01:46:40Z",
        "é\u2028",
        " ",
    ]
) | st.text(st.characters(codec="utf-8"), max_size=10)


def trees(names: list[str]) -> st.SearchStrategy[str]:
    """Elements of these names, within each other."""
    tags = st.sampled_from(names)
    leaves = st.builds(text, tags, VALUES)
    return st.recursive(
        leaves, lambda parts: st.builds(lambda tag, found: element(tag, *found), tags, st.lists(parts, max_size=4))
    )


class AnyDocumentTests(S3Case):
    """Of the right elements in the wrong places."""

    def setUp(self) -> None:
        S3Case.setUp(self)
        self.successResultOf(self.store.create_bucket("box"))
        self.successResultOf(self.store.put("box", "a", BytesStream(b"x"), 1, md5=True))
        self.upload_id = self.successResultOf(self.store.begin_upload("box", "a"))
        self.successResultOf(self.store.upload_part("box", "a", self.upload_id, 1, BytesStream(b"x"), 1, True))

    @settings(max_examples=50)
    @given(st.data())
    def test_any(self, data: st.DataObject) -> None:
        place = data.draw(st.sampled_from(sorted(PLACES)))
        root, *names = PLACES[place].split()
        body = document(root, *data.draw(st.lists(trees(names), max_size=5)))
        answer = self.ask(place.format(id=self.upload_id), body, md5_of(body))
        self.assertLess(answer.status, 500, (place, body, answer))
