/**
 * Handles of files, kept over a reload, where the browser has the File System Access API: with one, an upload resumes
 * without the file being chosen again.
 */

const databaseName = "storehouse";
const storeName = "handles";

type Permission = "granted" | "denied" | "prompt";

interface PermissionHandle extends FileSystemFileHandle {
  requestPermission?(options: { mode: "read" }): Promise<Permission>;
}

function opened(): Promise<IDBDatabase> {
  const request = indexedDB.open(databaseName, 1);
  request.onupgradeneeded = () => request.result.createObjectStore(storeName);
  return settled(request);
}

function settled<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error("the database failed"));
  });
}

async function within<T>(mode: IDBTransactionMode, work: (store: IDBObjectStore) => IDBRequest<T>): Promise<T | null> {
  try {
    const database = await opened();
    try {
      return await settled(work(database.transaction(storeName, mode).objectStore(storeName)));
    } finally {
      database.close();
    }
  } catch {
    // A private window, or a handle that cannot be kept: the file is chosen again, then.
    return null;
  }
}

/** Keep the handle of an upload's file. */
export async function keepHandle(id: string, handle: FileSystemFileHandle): Promise<void> {
  await within("readwrite", (store) => store.put(handle, id));
}

/** Forget it. */
export async function dropHandle(id: string): Promise<void> {
  await within("readwrite", (store) => store.delete(id));
}

/** The uploads whose files can be opened again. */
export async function keptHandles(): Promise<Set<string>> {
  return new Set(((await within("readonly", (store) => store.getAllKeys())) ?? []).map(String));
}

/** Open the file of an upload again; null if it is not there, or the reader said no. To be called on a click. */
export async function fileOf(id: string): Promise<File | null> {
  const handle = (await within("readonly", (store) => store.get(id))) as PermissionHandle | null;
  if (!handle) return null;
  try {
    if (handle.requestPermission && (await handle.requestPermission({ mode: "read" })) !== "granted") return null;
    return await handle.getFile();
  } catch {
    return null;
  }
}
