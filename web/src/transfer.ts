/** One file on its way to the server. */

import { type DetailedError, type HttpResponse, Upload } from "tus-js-client";
import { type Chosen } from "./entries";
import { detailOf, errorOf } from "./answers";
import { token } from "./api";
import { delayBefore, verdictOf } from "./backoff";
import { firstChunk, nextChunk } from "./chunks";
import type { Checksums, Hasher, Hashing } from "./hasher";
import type { Runnable } from "./queue";
import { RateMeter } from "./rate";
import { CheckedReader, FileChanged } from "./reader";
import type { Unfinished } from "./unfinished";

/**
 * `queued` for a place; `sending`; `paused` by the reader; `waiting` to try again; `checking` the stored file; `done`;
 * `failed` for good, unless the reader has it try again; `removed`.
 */
export type State = "queued" | "sending" | "paused" | "waiting" | "checking" | "done" | "failed" | "removed";

/** What the server says of a stored file. */
export interface Stored {
  name: string;
  crc32c?: string | undefined;
}

/** What a transfer needs of its page. */
export interface Surroundings {
  endpoint: string;
  hasher: Hasher;
  /** What the server knows of the file that an upload became. */
  stored(response: HttpResponse, path: string): Promise<Stored>;
  /** Something of it has changed. */
  changed(transfer: Transfer): void;
  /** It has a place on the server. */
  begun(transfer: Transfer): void;
  /** Nothing of it is left to resume. */
  ended(transfer: Transfer): void;
  /** The session is not the one that a request was made for, whose token this is. */
  signedOut(used: string): void;
}

export class Transfer implements Runnable {
  readonly file: File;
  readonly path: string;
  readonly handle: FileSystemFileHandle | undefined;
  readonly meter = new RateMeter();
  state: State = "queued";
  /** Bytes that have left; `hashed`: that went into the checksum. */
  sent = 0;
  hashed = 0;
  problem = "";
  /** Whether it failed only because of the session. */
  isSignedOut = false;
  /** When it tries again by itself, in milliseconds of `performance.now()`. */
  retryAt = 0;
  /** The file's name on the server, once it is stored. */
  name = "";
  checksums: Checksums | null = null;
  /** Whether the server has the same checksum; null if it has none. */
  agrees: boolean | null = null;

  readonly #around: Surroundings;
  readonly #reader = new CheckedReader();
  readonly #upload: Upload;
  #hashing: Hashing | null = null;
  /** Bytes that the server has for sure. */
  #accepted = 0;
  #attempt = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #chunkBegan = 0;
  /** Of the request that was made last. */
  #token = "";

  constructor(chosen: Chosen, around: Surroundings, resumed: Unfinished | null) {
    this.file = chosen.file;
    this.path = chosen.path;
    this.handle = chosen.handle;
    this.#around = around;
    if (resumed !== null) this.sent = this.#accepted = resumed.offset;
    this.#upload = new Upload(this.file, {
      endpoint: around.endpoint,
      uploadUrl: resumed === null ? null : around.endpoint + resumed.id,
      metadata: {
        filename: baseOf(this.path),
        filetype: this.file.type,
        ...(this.path.includes("/") ? { relativePath: this.path } : {}),
      },
      chunkSize: firstChunk(this.file.size),
      // A small file takes one request.
      uploadDataDuringCreation: this.file.size > 0 && this.file.size <= firstChunk(this.file.size),
      fileReader: this.#reader,
      // Ours know of the network, of sessions, and of what the page shows.
      retryDelays: null,
      storeFingerprintForResuming: false,
      onBeforeRequest: (request) => {
        this.#token = token();
        request.setHeader("X-CSRF-Token", this.#token);
        const checksum = this.#reader.takeChecksum();
        if (checksum !== null) request.setHeader("Upload-Checksum", checksum);
        this.#chunkBegan = performance.now();
      },
      onUploadUrlAvailable: () => this.#around.begun(this),
      onProgress: (sent) => this.#progress(sent),
      onChunkComplete: (size, accepted) => this.#chunkDone(size, accepted),
      onSuccess: ({ lastResponse }) => void this.#check(lastResponse),
      onError: (error) => this.#failed(error),
    });
  }

  get isWaiting(): boolean {
    return this.state === "queued";
  }

  get isRunning(): boolean {
    return this.state === "sending" || this.state === "waiting";
  }

  /** Whether there is nothing left to do. */
  get isOver(): boolean {
    return this.state === "done" || this.state === "removed" || this.state === "failed";
  }

  /** The last part of its URL; empty as long as it has none. */
  get id(): string {
    const url = this.#upload.url ?? this.#upload.options.uploadUrl ?? "";
    return url.slice(url.lastIndexOf("/") + 1);
  }

  /** Begin, or go on. For the queue. */
  run(): void {
    this.#hashing ??= this.#hash();
    this.meter.reset();
    this.#become("sending");
    this.#upload.start();
  }

  pause(): void {
    if (!["queued", "sending", "waiting"].includes(this.state)) return;
    this.#stop();
    this.#become("paused");
  }

  /** Resume after a pause, or after a failure: at once if there is a place. */
  resume(): void {
    if (this.state !== "paused" && this.state !== "failed") return;
    this.#attempt = 0;
    this.isSignedOut = false;
    this.#hashing ??= this.#hash();
    this.#become("queued");
  }

  /** Do not wait any longer before the next try. */
  retryNow(): void {
    if (this.state !== "waiting") return;
    clearTimeout(this.#timer);
    this.#become("sending");
    this.#upload.start();
  }

  /** Give it up; what the server has of it goes. */
  async remove(): Promise<void> {
    if (this.state === "done" || this.state === "removed") return;
    this.#hashing?.cancel();
    clearTimeout(this.#timer);
    this.#become("removed");
    try {
      await this.#upload.abort(true);
    } catch {
      // The server forgets it by itself after a while.
    }
    this.#around.ended(this);
  }

  #hash(): Hashing {
    const hashing = this.#around.hasher.hash(this.file, (done) => {
      this.hashed = done;
      this.#around.changed(this);
    });
    // Looked at when the upload is done; until then a failure is nobody's.
    hashing.result.catch(() => {});
    return hashing;
  }

  #become(state: State, problem = ""): void {
    this.state = state;
    this.problem = problem;
    // What was on its way is sent again.
    if (state === "paused" || state === "waiting" || state === "failed") this.sent = this.#accepted;
    this.#around.changed(this);
  }

  #stop(): void {
    clearTimeout(this.#timer);
    void this.#upload.abort();
  }

  #progress(sent: number): void {
    if (this.state !== "sending") return;
    this.sent = sent;
    this.meter.add(performance.now() / 1000, sent);
    this.#around.changed(this);
  }

  #chunkDone(size: number, accepted: number): void {
    this.#accepted = accepted;
    this.#attempt = 0;
    const seconds = (performance.now() - this.#chunkBegan) / 1000;
    const options = this.#upload.options;
    const chunk = options.chunkSize ?? size;
    // The last one is shorter, and says nothing.
    if (size >= chunk) options.chunkSize = nextChunk(chunk, seconds, this.file.size);
  }

  #failed(error: Error | DetailedError): void {
    if (this.state !== "sending") return;
    const changed = causeOf(error);
    if (changed !== null) {
      this.#hashing?.cancel();
      this.#hashing = null;
      this.#become("failed", changed.message);
      return;
    }
    const response = "originalResponse" in error ? error.originalResponse : null;
    const status = response?.getStatus() ?? null;
    const body = response?.getBody() ?? "";
    const detail = status === null || status === 0 ? "the server cannot be reached" : detailOf(body, status);
    const verdict = verdictOf(status, errorOf(body));
    if (verdict === "retry") {
      const delay = 1000 * delayBefore(this.#attempt++, Math.random());
      this.retryAt = performance.now() + delay;
      this.#timer = setTimeout(() => this.retryNow(), delay);
      this.#become("waiting", detail);
      return;
    }
    this.isSignedOut = verdict === "sign-in";
    this.#become("failed", detail);
    if (this.isSignedOut) this.#around.signedOut(this.#token);
    if (verdict === "gone") this.#around.ended(this);
  }

  async #check(response: HttpResponse): Promise<void> {
    if (this.state !== "sending") return;
    this.sent = this.file.size;
    this.#around.ended(this);
    this.#become("checking");
    try {
      const stored = await this.#around.stored(response, this.path);
      this.name = stored.name;
      this.checksums = await (this.#hashing ??= this.#hash()).result;
      if (stored.crc32c !== undefined) this.agrees = stored.crc32c === this.checksums.crc32c;
    } catch (error) {
      // It is stored; only what it was compared with is missing.
      this.problem = error instanceof Error ? error.message : String(error);
    }
    this.#become("done", this.agrees === false ? "what is stored differs from the file here" : this.problem);
  }
}

function baseOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

/** Whether a request failed because its file could not be read. */
function causeOf(error: Error | DetailedError): FileChanged | null {
  const cause = "causingError" in error ? error.causingError : error;
  return cause instanceof FileChanged ? cause : null;
}
