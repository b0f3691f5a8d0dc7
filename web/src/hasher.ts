/** Has a worker compute checksums of files. */

export type HashOrder = { id: number; file: File } | { id: number; cancel: true };
export type HashAnswer =
  { id: number; done: number } | { id: number; sha256: string; crc32c: string } | { id: number; problem: string };

export interface Checksums {
  sha256: string;
  crc32c: string;
}

interface Waiting {
  resolve(checksums: Checksums): void;
  reject(error: Error): void;
  progress(done: number): void;
}

/** A computation that can be given up; `result` then never comes. */
export interface Hashing {
  result: Promise<Checksums>;
  cancel(): void;
}

export class Hasher {
  readonly #url: string;
  #worker: Worker | null = null;
  #count = 0;
  readonly #waiting = new Map<number, Waiting>();

  constructor(url: string) {
    this.#url = url;
  }

  /** Begin with a file. */
  hash(file: File, progress: (done: number) => void): Hashing {
    const id = this.#count++;
    const worker = (this.#worker ??= this.#start());
    const result = new Promise<Checksums>((resolve, reject) => this.#waiting.set(id, { resolve, reject, progress }));
    worker.postMessage({ id, file } satisfies HashOrder);
    const cancel = () => {
      if (this.#waiting.delete(id)) worker.postMessage({ id, cancel: true } satisfies HashOrder);
    };
    return { result, cancel };
  }

  #start(): Worker {
    const worker = new Worker(this.#url);
    worker.onmessage = (event: MessageEvent<HashAnswer>) => {
      const answer = event.data;
      const waiting = this.#waiting.get(answer.id);
      if (waiting === undefined) return;
      if ("done" in answer) {
        waiting.progress(answer.done);
        return;
      }
      this.#waiting.delete(answer.id);
      if ("problem" in answer) waiting.reject(new Error(answer.problem));
      else waiting.resolve({ sha256: answer.sha256, crc32c: answer.crc32c });
    };
    worker.onerror = () => {
      for (const waiting of this.#waiting.values()) waiting.reject(new Error("checksums cannot be computed here"));
      this.#waiting.clear();
      this.#worker = null;
    };
    return worker;
  }
}
