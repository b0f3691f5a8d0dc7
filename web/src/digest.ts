/** The checksum that the server has of a file, and where it has the file. */

/** What Repr-Digest (RFC 9530) says of CRC32C, in hex; undefined if nothing. */
export function crcIn(field: string | null | undefined): string | undefined {
  const found = /(?:^|[,\s])crc32c=:([A-Za-z0-9+/]+=*):/.exec(field ?? "");
  if (found === null) return undefined;
  const bytes = atob(found[1]!);
  return [...bytes].map((byte) => byte.charCodeAt(0).toString(16).padStart(2, "0")).join("");
}

/** The name of the file at a path such as Content-Location has; null if it is not of a file. */
export function nameAt(location: string | null | undefined): string | null {
  if (!location) return null;
  const { pathname } = new URL(location, "https://localhost/");
  if (!pathname.startsWith("/download/")) return null;
  try {
    return decodeURIComponent(pathname.slice("/download/".length));
  } catch {
    return null;
  }
}
