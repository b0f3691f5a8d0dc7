/** The files of what was dropped, pasted or chosen, with those in folders. */

/** A file to be uploaded; `path` has its folders. */
export interface Chosen {
  file: File;
  path: string;
  handle?: FileSystemFileHandle;
}

interface HandleItem extends DataTransferItem {
  getAsFileSystemHandle?(): Promise<FileSystemHandle | null>;
}

/** Those of a file input. */
export function chosenIn(input: HTMLInputElement): Chosen[] {
  return [...(input.files ?? [])].map((file) => ({ file, path: file.webkitRelativePath || file.name }));
}

/** Those that were dropped. All of `transfer` is taken before this returns: it is empty when the event is over. */
export async function dropped(transfer: DataTransfer): Promise<Chosen[]> {
  const taken = [...transfer.items]
    .filter((item) => item.kind === "file")
    .map((item: HandleItem) => ({
      entry: item.webkitGetAsEntry?.() ?? null,
      file: item.getAsFile(),
      handle: item.getAsFileSystemHandle?.() ?? Promise.resolve(null),
    }));
  const found: Chosen[] = [];
  for (const { entry, file, handle } of taken) {
    const opened = await handle.catch(() => null);
    if (entry?.isDirectory) await walk(entry as FileSystemDirectoryEntry, "", found);
    else if (file !== null) {
      const isFile = opened?.kind === "file";
      found.push({ file, path: file.name, ...(isFile ? { handle: opened as FileSystemFileHandle } : {}) });
    }
  }
  return found;
}

async function walk(folder: FileSystemDirectoryEntry, above: string, found: Chosen[]): Promise<void> {
  const path = `${above}${folder.name}/`;
  const reader = folder.createReader();
  for (;;) {
    // Some at a time; none at the end.
    const entries = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (entries.length === 0) return;
    for (const entry of entries) {
      if (entry.isDirectory) await walk(entry as FileSystemDirectoryEntry, path, found);
      else {
        const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
        found.push({ file, path: path + file.name });
      }
    }
  }
}
