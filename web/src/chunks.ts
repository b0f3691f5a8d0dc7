/** How much goes in one request. */

const mib = 1 << 20;
const smallest = mib;
const largest = 32 * mib;

/** Seconds that a request is to take: what a torn one loses, and how long one waits for what the server says. */
const goal = 4;

/** Requests that a file may take, at most. */
const most = 8000;

/** The size to begin with. */
export function firstChunk(total: number): number {
  return Math.max(4 * mib, floorOf(total));
}

/**
 * The size after a request of `size` bytes took so many seconds: it at most doubles or halves.
 */
export function nextChunk(size: number, seconds: number, total: number): number {
  const factor = Math.min(2, Math.max(0.5, goal / Math.max(seconds, 0.001)));
  const wanted = Math.round((size * factor) / mib) * mib;
  return Math.max(floorOf(total), Math.min(largest, Math.max(smallest, wanted)));
}

function floorOf(total: number): number {
  return Math.ceil(total / most / mib) * mib;
}
