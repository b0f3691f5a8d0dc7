/** What is said of transfers, in words. */

import { countText, durationText, percentOf, rateText, sizeText } from "./format";

/** What there is to say of one. */
export interface Facts {
  state: string;
  size: number;
  sent: number;
  hashed: number;
  rate: number | null;
  secondsLeft: number | null;
  secondsToRetry: number;
  isOnline: boolean;
  problem: string;
}

/** One line about one transfer. */
export function statusText(facts: Facts): string {
  const amount = `${sizeText(facts.sent)} of ${sizeText(facts.size)}`;
  switch (facts.state) {
    case "queued":
      return facts.sent > 0 ? `${amount}, waiting for its turn` : `${sizeText(facts.size)}, waiting for its turn`;
    case "sending": {
      const parts = [amount];
      if (facts.rate !== null) parts.push(rateText(facts.rate));
      if (facts.secondsLeft !== null) parts.push(`${durationText(facts.secondsLeft)} left`);
      return parts.join(" · ");
    }
    case "paused":
      return `${amount} · paused`;
    case "waiting":
      return facts.isOnline
        ? `${amount} · ${facts.problem}; next try in ${durationText(facts.secondsToRetry)}`
        : `${amount} · no network; resumes by itself`;
    case "checking":
      return `Stored · comparing checksums, ${percentOf(facts.hashed, facts.size)} %`;
    case "done":
      return sizeText(facts.size);
    case "failed":
      return facts.problem;
    default:
      return "";
  }
}

/** All transfers together. */
export interface Totals {
  count: number;
  done: number;
  failed: number;
  paused: number;
  size: number;
  sent: number;
  rate: number | null;
  secondsLeft: number | null;
}

/** One line about all of them; what is read out, too. */
export function totalsText(totals: Totals): string {
  const { count, done, failed, paused } = totals;
  const rest = count - done - failed;
  const parts: string[] = [];
  if (rest === 0) {
    parts.push(failed === 0 ? `${countText(done, "file")} stored` : `${done} of ${countText(count, "file")} stored`);
  } else {
    parts.push(`${done} of ${countText(count, "file")} stored`);
    parts.push(`${percentOf(totals.sent, totals.size)} % of ${sizeText(totals.size)}`);
    if (paused === rest) parts.push("paused");
    else {
      if (totals.rate !== null) parts.push(rateText(totals.rate));
      if (totals.secondsLeft !== null) parts.push(`${durationText(totals.secondsLeft)} left`);
    }
  }
  if (failed > 0) parts.push(`${failed} failed`);
  return parts.join(" · ");
}
