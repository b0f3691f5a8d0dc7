/** A chart of two rates over time, as SVG: filled lines, with a scale, and the values under the pointer. */

import { rateText } from "./format";
import { thinned, ticksFor } from "./scale";

export interface Curve {
  name: string;
  /** For the style sheet. */
  kind: string;
  /** Bytes a second, the oldest first. */
  values: readonly number[];
}

const height = 200;
const left = 76;
const right = 8;
const top = 10;
const bottom = 24;
const most = 240;

function svg(tag: string, attributes: Record<string, string | number>, ...children: (Node | string)[]): SVGElement {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...children);
  return made;
}

/**
 * Draw one, so many units wide. `seconds` is how long a time it is of, `until` its end in seconds since 1970.
 */
export function chart(
  title: string,
  curves: readonly Curve[],
  seconds: number,
  until: number,
  width: number,
): HTMLElement {
  const thin = curves.map((curve) => ({ ...curve, values: thinned(curve.values, most) }));
  const largest = Math.max(1, ...thin.flatMap(({ values }) => values));
  const ticks = ticksFor(largest);
  const highest = ticks.at(-1)!;
  const count = Math.max(2, ...thin.map(({ values }) => values.length));
  const x = (index: number) => left + ((width - left - right) * index) / (count - 1);
  const y = (value: number) => height - bottom - ((height - top - bottom) * value) / highest;
  const now = thin.map(({ name, values }) => `${name} ${rateText(values.at(-1) ?? 0)}`).join(", ");

  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title}: ${now}` });
  for (const tick of ticks) {
    picture.append(svg("line", { class: "grid", x1: left, x2: width - right, y1: y(tick), y2: y(tick) }));
    picture.append(svg("text", { class: "axis", x: left - 8, y: y(tick) + 4, "text-anchor": "end" }, rateText(tick)));
  }
  const time = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
  for (const part of [0, 0.5, 1]) {
    const at = left + (width - left - right) * part;
    const anchor = part === 0 ? "start" : part === 1 ? "end" : "middle";
    const text = time.format(1000 * (until - seconds * (1 - part)));
    picture.append(svg("text", { class: "axis", x: at, y: height - 6, "text-anchor": anchor }, text));
  }
  for (const { kind, values } of thin) {
    const first = count - values.length;
    const points = values.map((value, index) => `${x(first + index).toFixed(1)},${y(value).toFixed(1)}`);
    if (points.length === 0) continue;
    const ends = `${x(count - 1)},${y(0)} ${x(first)},${y(0)}`;
    picture.append(svg("polygon", { class: `area ${kind}`, points: `${points.join(" ")} ${ends}` }));
    picture.append(svg("polyline", { class: `line ${kind}`, points: points.join(" ") }));
  }

  const figure = document.createElement("figure");
  const caption = document.createElement("figcaption");
  const heading = document.createElement("span");
  heading.textContent = title;
  const legend = document.createElement("span");
  legend.className = "legend";
  const shown = thin.map(({ name, kind, values }) => {
    const entry = document.createElement("span");
    entry.className = `key ${kind}`;
    legend.append(entry);
    return { entry, name, values };
  });
  const show = (index: number) => {
    for (const { entry, name, values } of shown) {
      entry.textContent = `${name} ${rateText(values[index - (count - values.length)] ?? 0)}`;
    }
  };
  show(count - 1);
  const mark = svg("line", { class: "mark", x1: 0, x2: 0, y1: top, y2: height - bottom, visibility: "hidden" });
  picture.append(mark);
  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    const place = ((event.clientX - box.left) / box.width) * width;
    const index = Math.round(((place - left) / (width - left - right)) * (count - 1));
    const within = Math.max(0, Math.min(count - 1, index));
    show(within);
    for (const name of ["x1", "x2"]) mark.setAttribute(name, String(x(within)));
    mark.setAttribute("visibility", "visible");
  });
  picture.addEventListener("pointerleave", () => {
    show(count - 1);
    mark.setAttribute("visibility", "hidden");
  });
  caption.append(heading, legend);
  figure.append(caption, picture);
  return figure;
}
