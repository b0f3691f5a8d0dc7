/** When to try again. */

const first = 1;
const longest = 60;

/**
 * Seconds before the next try: twice as long each time, and by chance up to half of it shorter, so that a thousand pages do
 * not all come back in the moment that a server does.
 */
export function delayBefore(attempt: number, random: number): number {
  const delay = Math.min(longest, first * 2 ** Math.min(attempt, 10));
  return delay * (1 - random / 2);
}

/** What a failed request means: try again, sign in first, the upload is gone, or it is no use. */
export type Verdict = "retry" | "sign-in" | "gone" | "final";

/** What an HTTP status means, with the kind of the error; null is no answer at all. */
export function verdictOf(status: number | null, error = ""): Verdict {
  if (status === null || status === 0) return "retry";
  // The token is that of another session: somebody has signed in anew.
  if (status === 401 || (status === 403 && error === "ForgedRequest")) return "sign-in";
  if (status === 404 || status === 410) return "gone";
  // 408 timeout, 409 and 423 somebody else is at it, 425 too early, 429 too many, 460 damaged on its way.
  if ([408, 409, 423, 425, 429, 460].includes(status)) return "retry";
  // 507: no space; that does not end by itself.
  return status >= 500 && status !== 507 ? "retry" : "final";
}
