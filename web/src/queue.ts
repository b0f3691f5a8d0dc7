/** Which transfers run: a few at once, in the order they came. */

/** What a queue asks of a transfer. */
export interface Runnable {
  readonly isWaiting: boolean;
  readonly isRunning: boolean;
  run(): void;
}

export class Queue<T extends Runnable> {
  readonly #most: number;
  readonly #items = new Set<T>();

  constructor(most: number) {
    this.#most = most;
  }

  get items(): ReadonlySet<T> {
    return this.#items;
  }

  add(item: T): void {
    this.#items.add(item);
  }

  remove(item: T): void {
    this.#items.delete(item);
  }

  /** Start what there is room for; to be called whenever something has changed. */
  pump(): void {
    let running = 0;
    for (const item of this.#items) if (item.isRunning) running++;
    for (const item of this.#items) {
      if (running >= this.#most) return;
      if (item.isWaiting) {
        item.run();
        running++;
      }
    }
  }
}
