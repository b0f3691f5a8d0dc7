import assert from "node:assert/strict";
import { test } from "node:test";
import { detailOf, errorOf, tokenIn } from "../src/answers";
import { delayBefore, verdictOf } from "../src/backoff";
import { firstChunk, nextChunk } from "../src/chunks";
import { crc32c, crcText } from "../src/crc32c";
import { crcIn, nameAt } from "../src/digest";
import { countText, durationText, percentOf, rateText, sizeText } from "../src/format";
import { Queue } from "../src/queue";
import { RateMeter } from "../src/rate";
import { thinned, ticksFor } from "../src/scale";
import { statusText, totalsText } from "../src/status";

const mib = 1 << 20;

test("sizes", () => {
  const cases: [number, string][] = [
    [-1, "0 B"],
    [0, "0 B"],
    [1023, "1023 B"],
    [1024, "1.00 KiB"],
    [10234, "9.99 KiB"],
    [10240, "10.0 KiB"],
    [102350, "100 KiB"],
    [1023 * 1024, "1023 KiB"],
    [1023.6 * 1024, "1.00 MiB"],
    [300 * mib, "300 MiB"],
    [2 ** 50, "1.00 PiB"],
    [2 ** 73, "8192 EiB"],
  ];
  for (const [count, text] of cases) assert.equal(sizeText(count), text);
  assert.equal(rateText(1536), "1.50 KiB/s");
});

test("durations", () => {
  const cases: [number, string][] = [
    [0, "1 s"],
    [59.4, "59 s"],
    [60, "1 min"],
    [61, "1 min 1 s"],
    [599, "9 min 59 s"],
    [601, "10 min"],
    [3599, "1 h"],
    [3660, "1 h 1 min"],
    [86400, "1 d"],
    [90000, "1 d 1 h"],
  ];
  for (const [seconds, text] of cases) assert.equal(durationText(seconds), text);
});

test("percent is 100 only of all", () => {
  assert.equal(percentOf(0, 10), 0);
  assert.equal(percentOf(999, 1000), 99);
  assert.equal(percentOf(9999999, 10000000), 99);
  assert.equal(percentOf(10, 10), 100);
  assert.equal(percentOf(0, 0), 100);
});

test("counts", () => {
  assert.equal(countText(1, "file"), "1 file");
  assert.equal(countText(2, "file"), "2 files");
});

test("a rate is that of the last seconds", () => {
  const meter = new RateMeter();
  assert.equal(meter.rate(0), null);
  for (let time = 0; time <= 20; time += 0.1) meter.add(time, time * 1000);
  assert.ok(Math.abs(meter.rate(20)! - 1000) < 20);
  for (let time = 20; time <= 40; time += 0.1) meter.add(time, 20000 + (time - 20) * 5000);
  assert.ok(Math.abs(meter.rate(40)! - 5000) < 100);
  assert.ok(Math.abs(meter.secondsFor(10000, 40)! - 2) < 0.1);
});

test("a rate goes down while nothing comes", () => {
  const meter = new RateMeter();
  meter.add(0, 0);
  meter.add(1, 1000);
  assert.equal(meter.rate(1), 1000);
  assert.equal(meter.rate(10), 100);
});

test("a rate is not negative after bytes were lost, nor known after a pause", () => {
  const meter = new RateMeter();
  meter.add(0, 0);
  meter.add(1, 1000);
  meter.add(2, 500);
  assert.equal(meter.rate(2), null);
  meter.add(3, 700);
  assert.equal(meter.rate(3), 200);
  meter.reset();
  assert.equal(meter.secondsFor(1, 4), null);
});

test("nothing is said of a rate of nothing", () => {
  const meter = new RateMeter();
  meter.add(0, 10);
  meter.add(5, 10);
  assert.equal(meter.secondsFor(100, 5), null);
});

test("delays double, and differ by chance", () => {
  assert.deepEqual(
    [0, 1, 2, 5, 6, 100].map((attempt) => delayBefore(attempt, 0)),
    [1, 2, 4, 32, 60, 60],
  );
  assert.equal(delayBefore(2, 1), 2);
  assert.equal(delayBefore(2, 0.5), 3);
});

test("what answers say", () => {
  const body = JSON.stringify({ error: "ForgedRequest", detail: "load the page anew" });
  assert.equal(errorOf(body), "ForgedRequest");
  assert.equal(detailOf(body, 403), "load the page anew");
  for (const other of ["", "<html>", "null", "[]", '{"error": 1, "detail": {}}']) {
    assert.equal(errorOf(other), "");
    assert.equal(detailOf(other, 502), "the server answered 502");
  }
});

test("the token of a page", () => {
  assert.equal(tokenIn('<head><meta name="csrf" content="aZ0_-9"><title>x</title>'), "aZ0_-9");
  assert.equal(tokenIn("<head><title>Sign in</title>"), "");
});

test("what statuses mean", () => {
  for (const status of [null, 0, 408, 409, 423, 429, 460, 500, 502, 503]) assert.equal(verdictOf(status), "retry");
  for (const status of [400, 403, 412, 413, 507]) assert.equal(verdictOf(status), "final");
  for (const status of [404, 410]) assert.equal(verdictOf(status), "gone");
  assert.equal(verdictOf(401), "sign-in");
  assert.equal(verdictOf(403, "ForgedRequest"), "sign-in");
  assert.equal(verdictOf(403, "Forbidden"), "final");
});

test("chunks follow the speed, within bounds", () => {
  assert.equal(firstChunk(10), 4 * mib);
  assert.equal(nextChunk(4 * mib, 0.01, 10), 8 * mib);
  assert.equal(nextChunk(32 * mib, 0.01, 10), 32 * mib);
  assert.equal(nextChunk(4 * mib, 60, 10), 2 * mib);
  assert.equal(nextChunk(mib, 600, 10), mib);
  assert.equal(nextChunk(8 * mib, 4, 10), 8 * mib);
});

test("a huge file has no more chunks than the server takes", () => {
  const total = 2 ** 40;
  assert.ok(total / firstChunk(total) <= 8000);
  assert.ok(total / nextChunk(firstChunk(total), 1000, total) <= 8000);
});

test("CRC32C", () => {
  const bytes = (text: string) => new TextEncoder().encode(text);
  // RFC 3720, B.4, and the usual check value.
  assert.equal(crcText(crc32c(bytes("123456789"))), "e3069283");
  assert.equal(crcText(crc32c(new Uint8Array(32))), "8a9136aa");
  assert.equal(crcText(crc32c(new Uint8Array(32).fill(255))), "62a8ab43");
  assert.equal(crcText(crc32c(Uint8Array.from({ length: 32 }, (_, index) => index))), "46dd794e");
  assert.equal(crcText(crc32c(new Uint8Array(0))), "00000000");
  const all = bytes("the quick brown fox jumps over the lazy dog");
  for (let cut = 0; cut <= all.length; cut++) {
    assert.equal(crc32c(all.subarray(cut), crc32c(all.subarray(0, cut))), crc32c(all));
  }
});

test("checksums of the server", () => {
  assert.equal(crcIn("crc32c=:4waSgw==:"), "e3069283");
  assert.equal(crcIn("sha-256=:AAAA:, crc32c=:AAAAAA==:"), "00000000");
  for (const field of [null, undefined, "", "sha-256=:4waSgw==:", "xcrc32c=:4waSgw==:"])
    assert.equal(crcIn(field), undefined);
});

test("names of stored files", () => {
  assert.equal(nameAt("/download/a%20b/c%C3%A4.txt"), "a b/cä.txt");
  assert.equal(nameAt("https://example.org/download/a%2Fb"), "a/b");
  for (const location of [null, undefined, "", "/tus/1", "/download/%ff"]) assert.equal(nameAt(location), null);
});

test("a queue runs a few at once, in order", () => {
  class Item {
    isWaiting = true;
    isRunning = false;
    constructor(readonly name: string) {}
    run(): void {
      this.isWaiting = false;
      this.isRunning = true;
      began.push(this.name);
    }
  }
  const began: string[] = [];
  const queue = new Queue<Item>(2);
  const items = ["a", "b", "c", "d"].map((name) => new Item(name));
  items.forEach((item) => queue.add(item));
  queue.pump();
  queue.pump();
  assert.deepEqual(began, ["a", "b"]);
  items[0]!.isRunning = false;
  queue.remove(items[2]!);
  queue.pump();
  assert.deepEqual(began, ["a", "b", "d"]);
  assert.deepEqual(
    [...queue.items].map(({ name }) => name),
    ["a", "b", "d"],
  );
});

test("the marks of an axis", () => {
  assert.deepEqual(ticksFor(1), [0, 1024]);
  assert.deepEqual(ticksFor(4096), [0, 1024, 2048, 3072, 4096]);
  assert.deepEqual(ticksFor(4097), [0, 2048, 4096, 6144]);
  for (const largest of [1, 5000, 1e6, 1e9, 1e12]) {
    const ticks = ticksFor(largest);
    assert.ok(ticks.at(-1)! >= largest && ticks.length <= 5, String(ticks));
  }
});

test("fewer values keep what they are of", () => {
  assert.deepEqual(thinned([1, 2, 3], 5), [1, 2, 3]);
  assert.deepEqual(thinned([1, 2, 3, 4], 2), [1.5, 3.5]);
  assert.deepEqual(thinned([1, 2, 3, 4, 5], 2), [1.5, 4]);
  assert.ok(thinned(Array(601).fill(1), 240).length <= 240);
});

test("what is said of a transfer", () => {
  const facts = {
    state: "sending",
    size: 300 * mib,
    sent: 100 * mib,
    hashed: 0,
    rate: 10 * mib,
    secondsLeft: 20,
    secondsToRetry: 3.2,
    isOnline: true,
    problem: "the server cannot be reached",
  };
  assert.equal(statusText(facts), "100 MiB of 300 MiB · 10.0 MiB/s · 20 s left");
  assert.equal(statusText({ ...facts, rate: null, secondsLeft: null }), "100 MiB of 300 MiB");
  assert.equal(statusText({ ...facts, state: "queued" }), "100 MiB of 300 MiB, waiting for its turn");
  assert.equal(statusText({ ...facts, state: "paused" }), "100 MiB of 300 MiB · paused");
  assert.equal(
    statusText({ ...facts, state: "waiting" }),
    "100 MiB of 300 MiB · the server cannot be reached; next try in 3 s",
  );
  assert.match(statusText({ ...facts, state: "waiting", isOnline: false }), /no network/);
  assert.equal(statusText({ ...facts, state: "checking", hashed: 150 * mib }), "Stored · comparing checksums, 50 %");
  assert.equal(statusText({ ...facts, state: "failed" }), "the server cannot be reached");
});

test("what is said of all", () => {
  const totals = {
    count: 3,
    done: 1,
    failed: 0,
    paused: 0,
    size: 100 * mib,
    sent: 50 * mib,
    rate: mib,
    secondsLeft: 50,
  };
  assert.equal(totalsText(totals), "1 of 3 files stored · 50 % of 100 MiB · 1.00 MiB/s · 50 s left");
  assert.equal(totalsText({ ...totals, paused: 2 }), "1 of 3 files stored · 50 % of 100 MiB · paused");
  assert.equal(totalsText({ ...totals, done: 3 }), "3 files stored");
  assert.equal(totalsText({ ...totals, done: 2, failed: 1 }), "2 of 3 files stored · 1 failed");
});
