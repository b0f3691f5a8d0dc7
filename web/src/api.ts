/** Requests to the server, other than those of the tus protocol. */

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

/** The path of a stored file. */
export function pathOf(name: string): string {
  return `/download/${name.split("/").map(encodeURIComponent).join("/")}`;
}

/** The reason within an answer that says no. */
export function detailOf(body: string, status: number): string {
  try {
    const { detail } = JSON.parse(body) as { detail?: unknown };
    if (typeof detail === "string" && detail !== "") return detail;
  } catch {
    // not from us: perhaps a proxy
  }
  return status === 401 ? "the session is over: sign in again" : `the server answered ${status}`;
}

/** One request; JSON in, JSON out. */
export async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
  const headers: Record<string, string> = { Accept: "application/json" };
  if (method !== "GET") headers["X-CSRF-Token"] = token();
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
  if (!response.ok) throw new ApiError(response.status, detailOf(text, response.status));
  return (text === "" ? null : JSON.parse(text)) as T;
}
