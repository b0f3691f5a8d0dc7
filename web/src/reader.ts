/** Reads a file for tus-js-client, and hashes each chunk, so that the server finds what was damaged on its way. */

import type { FileReader, FileSource } from "tus-js-client";

/** The file cannot be read any more: it was changed, moved or removed. */
export class FileChanged extends Error {}

export class CheckedReader implements FileReader {
  #checksum: string | null = null;

  async openFile(file: File): Promise<FileSource> {
    return {
      size: file.size,
      slice: async (start, end) => {
        const value = file.slice(start, end);
        let bytes: ArrayBuffer;
        try {
          bytes = await value.arrayBuffer();
        } catch {
          throw new FileChanged("the file was changed or moved after it was chosen; choose it again");
        }
        this.#checksum = `sha256 ${base64(await crypto.subtle.digest("SHA-256", bytes))}`;
        // Not `bytes`: the browser sends a blob from the disk, without holding it in memory.
        return { value, done: end >= file.size };
      },
      close: () => {},
    };
  }

  /** What the request that carries the chunk that was read last says in Upload-Checksum; null for one without a chunk. */
  takeChecksum(): string | null {
    const checksum = this.#checksum;
    this.#checksum = null;
    return checksum;
  }
}

function base64(bytes: ArrayBuffer): string {
  return btoa(String.fromCharCode(...new Uint8Array(bytes)));
}
