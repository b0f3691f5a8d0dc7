import assert from "node:assert/strict";
import { test } from "node:test";
import { baseName, isSame, matchOf, reconcile, type Unfinished, UnfinishedStore } from "../src/unfinished";

function entry(changes: Partial<Unfinished> = {}): Unfinished {
  return { id: "1", path: "folder/a.bin", size: 100, modified: 5, offset: 10, begun: 1000, ...changes };
}

const file = { name: "a.bin", size: 100, lastModified: 5 };

class FakeStorage {
  readonly #values = new Map<string, string>();
  get length(): number {
    return this.#values.size;
  }
  key(index: number): string | null {
    return [...this.#values.keys()][index] ?? null;
  }
  getItem(key: string): string | null {
    return this.#values.get(key) ?? null;
  }
  setItem(key: string, value: string): void {
    if (value.length > 1000) throw new Error("full");
    this.#values.set(key, value);
  }
  removeItem(key: string): void {
    this.#values.delete(key);
  }
  clear(): void {
    this.#values.clear();
  }
}

test("what was put is there again", () => {
  const storage = new FakeStorage();
  const store = new UnfinishedStore(storage);
  store.put(entry({ id: "2", begun: 2000 }));
  store.put(entry());
  assert.deepEqual(new UnfinishedStore(storage).all(), [entry(), entry({ id: "2", begun: 2000 })]);
  store.remove("1");
  assert.deepEqual(
    store.all().map(({ id }) => id),
    ["2"],
  );
});

test("what others put there, or is broken, is passed over", () => {
  const storage = new FakeStorage();
  storage.setItem("other", "{}");
  for (const [index, text] of ["", "null", "[]", "{", '{"path":1}', '"x"'].entries()) {
    storage.setItem(`storehouse:upload:${index}`, text);
  }
  assert.deepEqual(new UnfinishedStore(storage).all(), []);
});

test("storage that is full or forbidden is done without", () => {
  const store = new UnfinishedStore(new FakeStorage());
  store.put(entry({ path: "x".repeat(2000) }));
  assert.deepEqual(store.all(), []);
  const none = new UnfinishedStore(null);
  none.put(entry());
  none.remove("1");
  assert.deepEqual(none.all(), []);
});

test("the same file is known by name, size and time", () => {
  assert.ok(isSame(file, "a.bin", entry()));
  assert.ok(isSame(file, "folder/a.bin", entry()));
  assert.ok(!isSame({ ...file, size: 101 }, "a.bin", entry()));
  assert.ok(!isSame({ ...file, lastModified: 6 }, "a.bin", entry()));
  assert.ok(!isSame({ ...file, name: "b.bin" }, "b.bin", entry()));
  // The time is not known of one that was begun elsewhere.
  assert.ok(isSame({ ...file, lastModified: 6 }, "a.bin", entry({ modified: null })));
});

test("the best match has the very path, then the most bytes", () => {
  const entries = [entry({ id: "1", offset: 50 }), entry({ id: "2", path: "a.bin" }), entry({ id: "3", offset: 90 })];
  assert.equal(matchOf(file, "a.bin", entries)?.id, "2");
  assert.equal(matchOf(file, "folder/a.bin", entries)?.id, "3");
  assert.equal(matchOf({ ...file, size: 1 }, "a.bin", entries), null);
  assert.equal(matchOf(file, "a.bin", []), null);
});

test("the server decides what is unfinished, and how far", () => {
  const remote = [
    { id: "1", name: "folder/a.bin", offset: 60, length: 100, created: 2, expires: null },
    { id: "9", name: "b.bin", offset: 0, length: 7, created: 3, expires: 4 },
    { id: "8", name: "c.bin", offset: 0, length: null, created: 3, expires: 4 },
  ];
  assert.deepEqual(reconcile([entry(), entry({ id: "gone" })], remote), [
    entry({ offset: 60, begun: 2000 }),
    { id: "9", path: "b.bin", size: 7, modified: null, offset: 0, begun: 3000 },
  ]);
});

test("names without folders", () => {
  assert.equal(baseName("a/b/c"), "c");
  assert.equal(baseName("c"), "c");
});
