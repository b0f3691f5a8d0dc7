/** The stats page: charts, and all of it fresh every few seconds. */

import { chart } from "./chart";
import { byId, localTimes, setText } from "./dom";

interface Series {
  step: number;
  until: number;
  received: number[];
  sent: number[];
}

interface Stats {
  seconds: Series;
  minutes: Series;
}

const every = 5000;

/** Pixels around a chart. */
const padding = 100;
const parts = ["figures", "running", "recent"];

function drawn(title: string, { step, until, received, sent }: Series): HTMLElement {
  const rates = (counts: number[]) => counts.map((count) => count / step);
  const curves = [
    { name: "in", kind: "in", values: rates(received) },
    { name: "out", kind: "out", values: rates(sent) },
  ];
  // As wide as there is room, so that its text is as large as all other.
  const width = Math.max(300, byId("app").parentElement!.clientWidth - padding);
  return chart(title, curves, step * Math.max(1, received.length - 1), until, width);
}

async function fresh(): Promise<void> {
  const [numbers, page] = await Promise.all([
    fetch("/stats?format=json", { headers: { Accept: "application/json" } }),
    fetch("/stats", { headers: { Accept: "text/html" } }),
  ]);
  if (!numbers.ok || !page.ok || page.redirected) throw new Error("no answer to use");
  const stats = (await numbers.json()) as Stats;
  // What the server has made is the one truth of the figures and tables.
  const made = new DOMParser().parseFromString(await page.text(), "text/html");
  for (const id of parts) {
    const now = made.getElementById(id);
    if (now === null) continue;
    localTimes(now);
    byId(id).replaceWith(document.adoptNode(now));
  }
  if (byId("app").querySelector("svg:hover") === null) {
    byId("app").replaceChildren(drawn("Last ten minutes", stats.seconds), drawn("Last day", stats.minutes));
  }
}

async function turn(): Promise<void> {
  if (!document.hidden) {
    try {
      await fresh();
      setText(byId("fresh"), "Updated every five seconds");
    } catch {
      setText(byId("fresh"), `Not fresh since ${new Date().toLocaleTimeString()}: the server does not answer`);
    }
  }
  setTimeout(() => void turn(), every);
}

localTimes(document);
void turn();
