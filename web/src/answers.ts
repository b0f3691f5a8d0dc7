/** What answers of the server say. */

function fieldOf(body: string, name: "detail" | "error"): string {
  try {
    const value = (JSON.parse(body) as Record<string, unknown>)[name];
    if (typeof value === "string") return value;
  } catch {
    // not from us: perhaps a proxy
  }
  return "";
}

/** The reason within an answer that says no. */
export function detailOf(body: string, status: number): string {
  const detail = fieldOf(body, "detail");
  if (detail !== "") return detail;
  return status === 401 ? "the session is over: sign in again" : `the server answered ${status}`;
}

/** The kind of an error, as the server names it; empty if it says nothing. */
export function errorOf(body: string): string {
  return fieldOf(body, "error");
}

/** The token of the session that a page was made for; empty if it was made for none. */
export function tokenIn(page: string): string {
  return /<meta name="csrf" content="([0-9A-Za-z_-]*)">/.exec(page)?.[1] ?? "";
}
