/** Which uploads are in the hands of a page: what another tab sends is not unfinished. */

const prefix = "storehouse:upload:";

/** Say that an upload is ours, until what is returned is called, or the page is gone. */
export function hold(id: string): () => void {
  let release = () => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  void navigator.locks?.request(prefix + id, () => held);
  return release;
}

/** The uploads that pages have. */
export async function heldIds(): Promise<Set<string>> {
  const { held } = (await navigator.locks?.query()) ?? {};
  return new Set(
    (held ?? [])
      .map(({ name }) => name ?? "")
      .filter((name) => name.startsWith(prefix))
      .map((name) => name.slice(prefix.length)),
  );
}
