/** The scale of a chart. */

/** The top of an axis and its marks: round numbers of bytes, at most four steps to cover the largest. */
export function ticksFor(largest: number): number[] {
  let step = 256;
  const factors = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];
  for (let unit = 1024; ; unit *= 1024) {
    const found = factors.find((factor) => factor * unit * 4 >= largest);
    if (found !== undefined) {
      step = found * unit;
      break;
    }
  }
  const count = Math.max(1, Math.ceil(largest / step));
  return Array.from({ length: count + 1 }, (_, index) => index * step);
}

/** Fewer values: the mean of each so many, the last of them whole. */
export function thinned(values: readonly number[], most: number): number[] {
  const group = Math.ceil(values.length / most);
  if (group <= 1) return [...values];
  const found: number[] = [];
  for (let end = values.length; end > 0; end -= group) {
    const piece = values.slice(Math.max(0, end - group), end);
    found.unshift(piece.reduce((sum, value) => sum + value, 0) / piece.length);
  }
  return found;
}
