// Uploads a file with tus-js-client: node upload.mjs URL KEY FILE OPTIONS, where OPTIONS are JSON. Prints the URL of the upload.
import { createReadStream } from "node:fs";
import { basename } from "node:path";
import { PassThrough } from "node:stream";
import { Upload } from "tus-js-client";

const [url, key, path, options] = process.argv.slice(2);
const given = JSON.parse(options);
// Of a file, the client knows the length: where it is to be found out, the source is something else.
const file = createReadStream(path);
const upload = new Upload(given.uploadLengthDeferred ? file.pipe(new PassThrough()) : file, {
  endpoint: url,
  headers: { Authorization: `Bearer ${key}` },
  metadata: { filename: basename(path), filetype: "application/x-test" },
  retryDelays: [0, 100, 500],
  onSuccess: () => console.log(upload.url ?? "complete"),
  onError: (error) => {
    console.error(String(error));
    process.exitCode = 1;
  },
  ...given,
});
upload.start();
