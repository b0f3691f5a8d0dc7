"""
The S3 door and Terraform's S3 backend: states, and the lock file beside them, by puts of what is not there.

Where there is no Terraform, the requests that it was seen to send are sent.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from base64 import b64encode
from typing import Any

import boto3
import requests
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.integration.process import PATIENCE
from tests.integration.s3clients.case import REGION, S3Case

_MAIN = """
terraform {
  backend "s3" {
    bucket       = "states"
    key          = "prod/network.tfstate"
    region       = "us-east-1"
    use_lockfile = true
    use_path_style              = true
    skip_credentials_validation = true
    skip_metadata_api_check     = true
    skip_requesting_account_id  = true
    skip_region_validation      = true
    endpoints = { s3 = "%s" }
  }
}

resource "terraform_data" "rows" {
  count = 300
  input = "${count.index} ${var.text}"
}

variable "text" {
  default = "first"
}

output "last" {
  value = terraform_data.rows[299].output
}
"""

_STATE, _LOCK = "prod/network.tfstate", "prod/network.tfstate.tflock"


class TerraformTests(S3Case):
    """Over plain HTTP."""

    def setUp(self) -> None:
        super().setUp()
        self.client = boto3.client(
            "s3",
            endpoint_url=self.house.endpoint,
            aws_access_key_id=self.house.key_id,
            aws_secret_access_key=self.house.secret,
            region_name=REGION,
            verify=str(self.house.certificate) if self.secure else None,
        )
        self.addCleanup(self.client.close)
        self.client.create_bucket(Bucket="states")

    def terraform(self, *words: str, status: int = 0) -> str:
        """The command; its provider is built in."""
        program = shutil.which("terraform")
        assert program is not None
        return self.run_client(program, *words, status=status, CHECKPOINT_DISABLE="1", TF_IN_AUTOMATION="1")

    def test_states(self) -> None:
        """States are made, changed and kept from being changed twice at a time."""
        if shutil.which("terraform") is None:
            self.replay()
            return
        (self.home / "main.tf").write_text(_MAIN % self.house.endpoint)
        self.terraform("init", "-input=false", "-no-color")
        self.terraform("apply", "-auto-approve", "-input=false", "-no-color")
        state = json.loads(self.client.get_object(Bucket="states", Key=_STATE)["Body"].read())
        self.assertEqual(len(state["resources"][0]["instances"]), 300)
        self.assertEqual(self.terraform("output", "-raw", "last"), "299 first")
        # Somebody else is at it.
        self.client.put_object(Bucket="states", Key=_LOCK, Body=json.dumps({"ID": "x", "Who": "somebody"}).encode())
        words = ("apply", "-auto-approve", "-input=false", "-no-color", "-var", "text=second")
        self.assertIn("Error acquiring the state lock", self.terraform(*words, status=1))
        self.client.delete_object(Bucket="states", Key=_LOCK)
        self.terraform(*words)
        self.assertEqual(self.terraform("output", "-raw", "last"), "299 second")
        self.terraform("destroy", "-auto-approve", "-input=false", "-no-color")
        keys = [each["Key"] for each in self.client.list_objects_v2(Bucket="states")["Contents"]]
        self.assertEqual(keys, [_STATE])

    def test_requests(self) -> None:
        """Also where there is a Terraform: the requests themselves."""
        self.replay()

    def replay(self) -> None:
        """What Terraform 1.11 sent for a lock, a state and their end."""
        listing = "/states?list-type=2&max-keys=1000&prefix=env%3A%2F"
        self.assertEqual(self.send("GET", listing), 200)
        self.assertEqual(self.send("HEAD", f"/states/{_STATE}"), 404)
        lock, state = b'{"ID":"1","Operation":"OperationTypeApply"}', b'{"version":4,"serial":1}' * 10_000
        for status in (200, 412):
            put = self.send("PUT", f"/states/{_LOCK}?x-id=PutObject", lock, **{"If-None-Match": "*"})
            self.assertEqual(put, status)
        self.assertEqual(self.send("PUT", f"/states/{_STATE}?x-id=PutObject", state), 200)
        got = self.send("GET", f"/states/{_STATE}?x-id=GetObject", **{"x-amz-checksum-mode": "ENABLED"})
        self.assertEqual((got, self.answer.content), (200, state))
        self.assertEqual(self.send("DELETE", f"/states/{_LOCK}?x-id=DeleteObject"), 204)
        self.assertEqual(self.send("HEAD", f"/states/{_LOCK}"), 404)

    def send(self, method: str, target: str, body: bytes = b"", **fields: str) -> int:
        """One request with its checksum, signed. @return: the status."""
        if method == "PUT":
            fields["Content-Type"] = "application/json"
            fields["x-amz-sdk-checksum-algorithm"] = "SHA256"
            fields["x-amz-checksum-sha256"] = b64encode(hashlib.sha256(body).digest()).decode()
        request: Any = AWSRequest(method, self.house.endpoint + target, fields, body)
        request.headers["X-Amz-Content-SHA256"] = hashlib.sha256(body).hexdigest()
        S3SigV4Auth(Credentials(self.house.key_id, self.house.secret), "s3", REGION).add_auth(request)
        self.answer = requests.request(
            method,
            request.url,
            data=body,
            headers=dict(request.headers),
            verify=str(self.house.certificate) if self.secure else None,
            timeout=PATIENCE,
        )
        return self.answer.status_code


class TerraformTLSTests(TerraformTests):
    """Over TLS."""

    secure = True
