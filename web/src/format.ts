/** Numbers and times as people read them. */

const units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/** Bytes, in the largest unit of which there is one, with three digits. */
export function sizeText(count: number): string {
  if (count < 1024) return `${Math.max(0, Math.round(count))} B`;
  let value = count;
  let unit = "";
  for (unit of units) {
    value /= 1024;
    // What would be rounded to 1024 is one of the next unit.
    if (value < 1023.5) break;
  }
  return `${value.toFixed(value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2)} ${unit}`;
}

/** Bytes a second. */
export function rateText(bytesPerSecond: number): string {
  return `${sizeText(bytesPerSecond)}/s`;
}

/** A time span, in its one or two largest units. */
export function durationText(seconds: number): string {
  const whole = Math.max(1, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.round(whole / 60);
  if (minutes < 60) return whole < 600 ? pair(Math.floor(whole / 60), "min", whole % 60, "s") : `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return pair(hours, "h", minutes % 60, "min");
  return pair(Math.floor(hours / 24), "d", hours % 24, "h");
}

function pair(large: number, largeUnit: string, small: number, smallUnit: string): string {
  return small === 0 ? `${large} ${largeUnit}` : `${large} ${largeUnit} ${small} ${smallUnit}`;
}

/** A part of a whole in percent; 100 only when it is all of it. */
export function percentOf(part: number, whole: number): number {
  if (whole <= 0) return 100;
  return part >= whole ? 100 : Math.min(99, Math.floor((100 * part) / whole));
}

/** A number and its noun. */
export function countText(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
