/** Uploads that were begun and not finished, as they are known from before the page was loaded. */

/** What is kept of one. `modified` is in milliseconds since 1970; null if only the server knows of it. */
export interface Unfinished {
  id: string;
  path: string;
  size: number;
  modified: number | null;
  offset: number;
  begun: number;
}

/** What the server tells of one; times in seconds since 1970. */
export interface RemoteUpload {
  id: string;
  name: string;
  offset: number;
  length: number | null;
  created: number;
  expires: number | null;
}

/** What a file is known by. */
export interface FileLike {
  name: string;
  size: number;
  lastModified: number;
}

const prefix = "storehouse:upload:";

/** Those that this browser has begun. What cannot be read or kept is done without: the server knows them, too. */
export class UnfinishedStore {
  readonly #storage: Storage | null;

  constructor(storage: Storage | null) {
    this.#storage = storage;
  }

  all(): Unfinished[] {
    const storage = this.#storage;
    if (storage === null) return [];
    const found: Unfinished[] = [];
    for (let index = 0; index < storage.length; index++) {
      const key = storage.key(index);
      if (key === null || !key.startsWith(prefix)) continue;
      const entry = parseEntry(key.slice(prefix.length), storage.getItem(key));
      if (entry !== null) found.push(entry);
    }
    return found.sort((one, other) => one.begun - other.begun);
  }

  put(entry: Unfinished): void {
    const { id, ...rest } = entry;
    try {
      this.#storage?.setItem(prefix + id, JSON.stringify(rest));
    } catch {
      // The storage is full.
    }
  }

  remove(id: string): void {
    this.#storage?.removeItem(prefix + id);
  }
}

function parseEntry(id: string, text: string | null): Unfinished | null {
  try {
    const value: unknown = JSON.parse(text ?? "");
    if (typeof value !== "object" || value === null) return null;
    const { path, size, modified, offset, begun } = value as Record<string, unknown>;
    if (typeof path !== "string" || typeof size !== "number" || typeof begun !== "number") return null;
    return {
      id,
      path,
      size,
      modified: typeof modified === "number" ? modified : null,
      offset: typeof offset === "number" ? offset : 0,
      begun,
    };
  } catch {
    return null;
  }
}

/** What is unfinished in truth: the server decides what there is, this browser knows more about its own. */
export function reconcile(local: readonly Unfinished[], remote: readonly RemoteUpload[]): Unfinished[] {
  const known = new Map(local.map((entry) => [entry.id, entry]));
  const found: Unfinished[] = [];
  for (const upload of remote) {
    if (upload.length === null) continue; // of a program that does not know yet
    const mine = known.get(upload.id);
    found.push({
      id: upload.id,
      path: mine?.path ?? upload.name,
      size: upload.length,
      modified: mine?.modified ?? null,
      offset: upload.offset,
      begun: upload.created * 1000,
    });
  }
  return found;
}

/** Whether a file that was chosen again is the one of an unfinished upload. */
export function isSame(file: FileLike, path: string, entry: Unfinished): boolean {
  if (file.size !== entry.size) return false;
  if (entry.modified !== null && entry.modified !== file.lastModified) return false;
  return path === entry.path || file.name === baseName(entry.path);
}

/** The unfinished upload that a file resumes: one of its very path first, and of these the one that got farthest. */
export function matchOf(file: FileLike, path: string, entries: readonly Unfinished[]): Unfinished | null {
  const matching = entries.filter((entry) => isSame(file, path, entry));
  const score = (entry: Unfinished) => (entry.path === path ? 1 : 0);
  matching.sort((one, other) => score(other) - score(one) || other.offset - one.offset);
  return matching[0] ?? null;
}

/** A path without its folders. */
export function baseName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}
