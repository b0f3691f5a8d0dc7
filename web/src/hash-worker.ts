/** Checksums of whole files, off the page's thread: SHA-256 to show, CRC32C to compare with what the server knows. */

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { crc32c, crcText } from "./crc32c";
import type { HashAnswer, HashOrder } from "./hasher";

const pieceSize = 4 << 20;
const cancelled = new Set<number>();

const answer = (message: HashAnswer) => postMessage(message);

async function hash(id: number, file: File): Promise<void> {
  try {
    const sha = sha256.create();
    let crc = 0;
    for (let at = 0; at < file.size; at += pieceSize) {
      if (cancelled.delete(id)) return;
      const bytes = new Uint8Array(await file.slice(at, at + pieceSize).arrayBuffer());
      sha.update(bytes);
      crc = crc32c(bytes, crc);
      answer({ id, done: at + bytes.length });
    }
    answer({ id, sha256: bytesToHex(sha.digest()), crc32c: crcText(crc) });
  } catch (error) {
    answer({ id, problem: error instanceof Error ? error.message : String(error) });
  }
}

onmessage = (event: MessageEvent<HashOrder>) => {
  const order = event.data;
  // Several take turns, a piece each: a small file does not wait for a large one.
  if ("file" in order) void hash(order.id, order.file);
  else cancelled.add(order.id);
};
