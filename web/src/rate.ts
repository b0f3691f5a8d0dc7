/** How fast something goes: over a window of the last seconds, so that it neither jumps nor lags. */

const windowSeconds = 8;
const stepSeconds = 0.25;

/** Bytes a second, from what was counted when. Times are in seconds of any clock that only goes forward. */
export class RateMeter {
  #samples: { time: number; count: number }[] = [];

  /** So many bytes have gone, in all. */
  add(time: number, count: number): void {
    const last = this.#samples.at(-1);
    if (last !== undefined && count < last.count) {
      // Bytes were lost, and are sent again.
      this.reset();
    }
    const before = this.#samples.at(-2);
    // Few samples are kept: the last moves along with the time until it is far enough from the one before.
    if (before !== undefined && time - before.time < stepSeconds) this.#samples.pop();
    this.#samples.push({ time, count });
    while (this.#samples.length > 2 && time - this.#samples[1]!.time >= windowSeconds) this.#samples.shift();
  }

  /** Forget all: after a pause. */
  reset(): void {
    this.#samples = [];
  }

  /** Bytes a second up to now; null as long as there is too little to say. */
  rate(time: number): number | null {
    const first = this.#samples[0];
    const last = this.#samples.at(-1);
    if (first === undefined || last === undefined || time - first.time < 2 * stepSeconds) return null;
    return (last.count - first.count) / (time - first.time);
  }

  /** Seconds until so many more bytes have gone; null if that cannot be said. */
  secondsFor(remaining: number, time: number): number | null {
    const rate = this.rate(time);
    return rate === null || rate < 1 ? null : remaining / rate;
  }
}
