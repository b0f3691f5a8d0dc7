/** Requests to the server, other than those of the tus protocol. */

import { verdictOf } from "./backoff";
import { detailOf, errorOf, tokenIn } from "./answers";
import { h } from "./dom";

/** The server said no, or nothing. `status` is null if nobody answered. */
export class ApiError extends Error {
  readonly status: number | null;

  constructor(status: number | null, detail: string) {
    super(detail);
    this.status = status;
  }
}

/** What every request that changes something has to repeat. */
export function token(): string {
  return document.querySelector<HTMLMetaElement>('meta[name="csrf"]')?.content ?? "";
}

/** What became of a session: another one has begun, it is as it was (or nobody knows), or it is over. */
export type Session = "renewed" | "same" | "over";

let asking: Promise<Session> | null = null;

/**
 * Find out who is signed in now. Who signed in anew, in another tab, say, has another session, with another token: from then
 * on, the page uses that one.
 *
 * @param used the token of the request that was refused
 */
export function renew(used: string): Promise<Session> {
  if (token() !== used) return Promise.resolve("renewed"); // somebody else has asked
  asking ??= look(used).finally(() => (asking = null));
  return asking;
}

async function look(used: string): Promise<Session> {
  let found: string;
  try {
    const response = await fetch("/upload", { headers: { Accept: "text/html" }, cache: "no-store" });
    if (!response.ok) return "same";
    if (new URL(response.url).pathname !== "/upload") return "over"; // led to sign in
    found = tokenIn(await response.text());
  } catch {
    return "same";
  }
  if (found === used) return "same";
  document.querySelector('meta[name="csrf"]')?.remove();
  document.head.append(h("meta", { name: "csrf", content: found }));
  for (const field of document.querySelectorAll<HTMLInputElement>('input[name="csrf"]')) field.value = found;
  return "renewed";
}

/** The path of a stored file. */
export function pathOf(name: string): string {
  return `/download/${name.split("/").map(encodeURIComponent).join("/")}`;
}

/** One request; JSON in, JSON out. If the session is another one by now, it is made once more. */
export async function call<T>(method: string, path: string, body?: unknown, isAgain = false): Promise<T> {
  const headers: Record<string, string> = { Accept: "application/json" };
  const used = token();
  if (method !== "GET") headers["X-CSRF-Token"] = used;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      headers,
      body: body === undefined ? null : JSON.stringify(body),
      credentials: "same-origin",
    });
  } catch {
    throw new ApiError(null, "the server cannot be reached");
  }
  const text = await response.text();
  if (!response.ok) {
    const isAboutSession = verdictOf(response.status, errorOf(text)) === "sign-in";
    if (isAboutSession && !isAgain && (await renew(used)) === "renewed") return call(method, path, body, true);
    throw new ApiError(response.status, detailOf(text, response.status));
  }
  return (text === "" ? null : JSON.parse(text)) as T;
}
