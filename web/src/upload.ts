/** The upload page. */

import type { HttpResponse } from "tus-js-client";
import { detailOf } from "./answers";
import { ApiError, call, pathOf, renew, token } from "./api";
import { requestFile } from "./dialogs";
import { crcIn, nameAt } from "./digest";
import { button, byId, h, icon, setText } from "./dom";
import { type Chosen, chosenIn, dropped } from "./entries";
import { percentOf, sizeText } from "./format";
import { dropHandle, keepHandle } from "./handles";
import { Hasher } from "./hasher";
import { heldIds, hold } from "./locks";
import { UnfinishedList } from "./pending";
import { Queue } from "./queue";
import { RateMeter } from "./rate";
import { Row } from "./row";
import { totalsText } from "./status";
import { type Stored, Transfer } from "./transfer";
import { matchOf, type RemoteUpload, reconcile, UnfinishedStore } from "./unfinished";

declare const HASH_WORKER: string;

/** Files that are sent at once: more of them only make each slower. */
const atOnce = 3;

/** Milliseconds between two drawings, and between two things that are read out. */
const drawEvery = 100;
const announceEvery = 15000;

function storage(): Storage | null {
  try {
    return window.localStorage;
  } catch {
    return null; // the reader's browser forbids it
  }
}

class UploadPage {
  readonly #app = byId("app");
  readonly #maxSize = Number(this.#app.dataset["maxSize"] ?? 0);
  readonly #longestLifetime = Number(this.#app.dataset["linkLifetime"] ?? 86400);
  readonly #store = new UnfinishedStore(storage());
  readonly #queue = new Queue<Transfer>(atOnce);
  readonly #rows = new Map<Transfer, Row>();
  readonly #dirty = new Set<Transfer>();
  readonly #places = new Map<Transfer, { id: string; release: () => void }>();
  readonly #hasher = new Hasher(HASH_WORKER);
  readonly #meter = new RateMeter();
  readonly #unfinished: UnfinishedList;

  readonly #files = h("input", {
    type: "file",
    multiple: true,
    hidden: true,
    id: "choose-files",
    "aria-label": "Files",
  });
  readonly #folder = h("input", {
    type: "file",
    webkitdirectory: true,
    hidden: true,
    id: "choose-folder",
    "aria-label": "Folder",
  });
  readonly #zone: HTMLElement;
  readonly #list = h("ul", { class: "transfers", "aria-label": "Uploads" });
  readonly #overall = h("progress", { max: 1, value: 0, "aria-label": "Progress of all uploads" });
  readonly #summary = h("p", { class: "summary" });
  readonly #pauseAll = button("Pause all", () => this.#each((transfer) => transfer.pause()), { icon: "pause" });
  readonly #resumeAll = button(
    "Resume all",
    () => this.#each((transfer) => transfer.state === "paused" && transfer.resume()),
    { icon: "play" },
  );
  readonly #clear = button("Clear finished", () => this.#clearFinished(), { icon: "check" });
  readonly #bar = h("section", { class: "overall", hidden: true, "aria-label": "All uploads" });
  readonly #live = h("p", { class: "unseen", role: "status" });
  readonly #notice = h("div", { role: "alert" });
  /** Says that the session is over; null while it is not. */
  #signIn: HTMLElement | null = null;
  #timer: ReturnType<typeof setTimeout> | null = null;
  #announcedAt = 0;
  #announced = "";

  constructor() {
    this.#unfinished = new UnfinishedList({
      store: this.#store,
      go: (chosen, entry) => this.#add([chosen], entry.id),
      announce: (text) => this.#announce(text),
    });
    this.#zone = this.#dropZone();
    this.#bar.append(
      h(
        "div",
        { class: "head" },
        this.#summary,
        h("div", { class: "buttons" }, this.#pauseAll, this.#resumeAll, this.#clear),
      ),
      this.#overall,
    );
    this.#app.append(this.#notice, this.#bar, this.#list, this.#unfinished.element, this.#live);
    byId("plain").replaceWith(this.#zone);
    this.#listen();
    void this.#load();
  }

  #dropZone(): HTMLElement {
    const choose = button("Choose files", () => this.#choose(), { icon: "file", class: "primary" });
    const chooseFolder = button("Choose a folder", () => this.#folder.click(), { icon: "folder" });
    const ask = button("Ask somebody for a file", () => requestFile(this.#longestLifetime), {
      icon: "link",
      class: "quiet",
    });
    return h(
      "section",
      { class: "drop", "aria-label": "Choose what to upload" },
      icon("up"),
      h("p", { class: "lead" }, "Drop files or folders here"),
      h("div", { class: "actions" }, choose, chooseFolder),
      this.#files,
      this.#folder,
      h("p", { class: "hint" }, "You can pause, close the page, and continue another day."),
      ask,
    );
  }

  #listen(): void {
    for (const input of [this.#files, this.#folder]) {
      input.addEventListener("change", () => {
        const chosen = chosenIn(input);
        input.value = "";
        this.#add(chosen);
      });
    }
    let depth = 0;
    const over = (by: number) => {
      depth = Math.max(0, depth + by);
      this.#zone.classList.toggle("over", depth > 0);
    };
    // The whole page takes drops: what misses the zone by a little must not be opened instead of the page.
    const hasFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
    addEventListener("dragenter", (event) => hasFiles(event) && over(1));
    addEventListener("dragleave", (event) => hasFiles(event) && over(-1));
    addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
    addEventListener("drop", (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      over(-depth);
      const warn = (error: unknown) => this.#warn(`What was dropped cannot be read: ${String(error)}`);
      void dropped(event.dataTransfer!).then((chosen) => this.#add(chosen), warn);
    });
    addEventListener("paste", (event) => {
      if (event.clipboardData?.files.length) void dropped(event.clipboardData).then((chosen) => this.#add(chosen));
    });
    addEventListener("focus", () => void this.#lookAgain());
    document.addEventListener("visibilitychange", () => void this.#lookAgain());
    addEventListener("online", () => this.#each((transfer) => transfer.retryNow()));
    addEventListener("offline", () => this.#redraw());
    addEventListener("beforeunload", (event) => {
      if ([...this.#rows.keys()].some((transfer) => transfer.isRunning)) event.preventDefault();
    });
  }

  async #load(): Promise<void> {
    const { uploads } = await call<{ uploads: RemoteUpload[] }>("GET", "/uploads").catch(() => ({ uploads: null }));
    if (uploads === null) return; // the server is away: nothing can be said, and nothing is forgotten
    const there = new Set(uploads.map((upload) => upload.id));
    for (const entry of this.#store.all()) {
      if (there.has(entry.id)) continue;
      this.#store.remove(entry.id);
      void dropHandle(entry.id);
    }
    const held = await heldIds();
    const left = uploads.filter((upload) => !held.has(upload.id));
    await this.#unfinished.show(reconcile(this.#store.all(), left));
  }

  /** Choose by the picker that gives handles, where there is one. */
  async #choose(): Promise<void> {
    const picker = (window as { showOpenFilePicker?: (options: object) => Promise<FileSystemFileHandle[]> })
      .showOpenFilePicker;
    if (picker === undefined) {
      this.#files.click();
      return;
    }
    try {
      const handles = await picker.call(window, { multiple: true });
      this.#add(
        await Promise.all(
          handles.map(async (handle) => {
            const file = await handle.getFile();
            return { file, path: file.name, handle };
          }),
        ),
      );
    } catch (error) {
      if (!(error instanceof DOMException && error.name === "AbortError")) this.#files.click();
    }
  }

  #add(all: Chosen[], resumedId?: string): void {
    const isBound = this.#maxSize > 0;
    const tooLarge = all.filter(({ file }) => isBound && file.size > this.#maxSize);
    for (const { path, file } of tooLarge)
      this.#warn(`${path} has ${sizeText(file.size)}; at most ${sizeText(this.#maxSize)} are taken`);
    let resumed = 0;
    for (const chosen of all) {
      if (tooLarge.includes(chosen)) continue;
      const entries = this.#unfinished.entries;
      const match =
        resumedId === undefined
          ? matchOf(chosen.file, chosen.path, entries)
          : (entries.find(({ id }) => id === resumedId) ?? null);
      if (match !== null) {
        this.#unfinished.remove(match.id);
        resumed++;
      }
      const transfer = new Transfer(match === null ? chosen : { ...chosen, path: match.path }, this.#around, match);
      const row = new Row(transfer, {
        pump: () => this.#queue.pump(),
        forget: (gone) => this.#forget(gone),
        announce: (text) => this.#announce(text),
        longestLifetime: this.#longestLifetime,
      });
      this.#queue.add(transfer);
      this.#rows.set(transfer, row);
      this.#list.append(row.element);
    }
    if (resumed > 0)
      this.#announce(`Resumed ${resumed === 1 ? "an unfinished upload" : `${resumed} unfinished uploads`}`);
    this.#queue.pump();
    this.#redraw();
  }

  /** What transfers need of this page. */
  readonly #around = {
    endpoint: new URL("/tus/", location.href).href,
    hasher: this.#hasher,
    stored: (response: HttpResponse, path: string) => this.#stored(response, path),
    changed: (transfer: Transfer) => {
      this.#dirty.add(transfer);
      this.#schedule();
    },
    begun: (transfer: Transfer) => this.#begun(transfer),
    ended: (transfer: Transfer) => this.#ended(transfer),
    signedOut: (used: string) => void this.#signedOut(used),
  };

  /** The name may be another than the one that was asked for: if that was taken. */
  async #stored(response: HttpResponse, path: string): Promise<Stored> {
    const name = nameAt(response.getHeader("Content-Location")) ?? path;
    const found = await fetch(pathOf(name), { method: "HEAD" });
    if (!found.ok) throw new ApiError(found.status, detailOf("", found.status));
    return { name, crc32c: crcIn(found.headers.get("Repr-Digest")) };
  }

  #begun(transfer: Transfer): void {
    const { id, path, file, sent, handle } = transfer;
    this.#store.put({ id, path, size: file.size, modified: file.lastModified, offset: sent, begun: Date.now() });
    if (this.#places.get(transfer)?.id === id) return; // it was only resumed
    this.#ended(transfer); // the server had forgotten where it was before
    this.#places.set(transfer, { id, release: hold(id) });
    if (handle !== undefined) void keepHandle(id, handle);
  }

  #ended(transfer: Transfer): void {
    const place = this.#places.get(transfer);
    if (place === undefined) return;
    place.release();
    this.#places.delete(transfer);
    this.#store.remove(place.id);
    void dropHandle(place.id);
  }

  /** Resume with another session, if there is one; or show what to do. */
  async #signedOut(used: string): Promise<void> {
    const session = await renew(used);
    if (session === "renewed") this.#signedIn();
    if (session !== "over" || this.#signIn !== null) return;
    // In another tab: this one keeps what was chosen.
    const link = h("a", { href: "/sign-in?next=/upload", target: "_blank", class: "button primary" }, "Sign in");
    this.#signIn = h(
      "p",
      { class: "notice bad" },
      "The session is over. Unfinished uploads are kept, and resume when you have signed in. ",
      link,
    );
    this.#notice.append(this.#signIn);
  }

  /** Somebody has signed in: resume what failed without a session. */
  #signedIn(): void {
    this.#signIn?.remove();
    this.#signIn = null;
    this.#each((transfer) => transfer.isSignedOut && transfer.resume());
  }

  /** The reader comes back, perhaps from signing in. */
  async #lookAgain(): Promise<void> {
    if (this.#signIn !== null && !document.hidden && (await renew(token())) === "renewed") this.#signedIn();
  }

  #warn(text: string): void {
    const notice = h("p", { class: "notice bad" }, text, " ");
    notice.append(button("Dismiss", () => notice.remove(), { class: "quiet" }));
    this.#notice.append(notice);
  }

  #each(action: (transfer: Transfer) => unknown): void {
    for (const transfer of this.#rows.keys()) action(transfer);
    this.#queue.pump();
  }

  #forget(transfer: Transfer): void {
    this.#queue.remove(transfer);
    const element = this.#rows.get(transfer)?.element;
    this.#rows.delete(transfer);
    if (element !== undefined) {
      const hadFocus = element.contains(document.activeElement);
      const next = element.nextElementSibling ?? element.previousElementSibling ?? this.#zone;
      element.remove();
      // So that the keyboard's focus continues from there.
      if (hadFocus) next.querySelector("button")?.focus();
    }
    this.#redraw();
  }

  #clearFinished(): void {
    for (const transfer of [...this.#rows.keys()]) if (transfer.state === "done") this.#forget(transfer);
    this.#zone.querySelector("button")?.focus();
  }

  // -- drawing

  #redraw(): void {
    for (const transfer of this.#rows.keys()) this.#dirty.add(transfer);
    this.#schedule();
  }

  #schedule(): void {
    this.#timer ??= setTimeout(() => this.#draw(), drawEvery);
  }

  #draw(): void {
    this.#timer = null;
    for (const transfer of this.#dirty) {
      if (transfer.state === "removed") this.#forget(transfer);
      else this.#rows.get(transfer)?.draw();
    }
    this.#dirty.clear();
    this.#queue.pump();
    this.#drawTotals();
    for (const transfer of this.#rows.keys()) {
      if (transfer.state !== "waiting") continue;
      // So that the seconds to the next try go down.
      this.#dirty.add(transfer);
      this.#timer ??= setTimeout(() => this.#draw(), 1000);
    }
  }

  #drawTotals(): void {
    const transfers = [...this.#rows.keys()];
    const count = (wanted: (transfer: Transfer) => boolean) => transfers.filter(wanted).length;
    const sum = (amount: (transfer: Transfer) => number) =>
      transfers.reduce((total, transfer) => total + amount(transfer), 0);
    const size = sum(({ file }) => file.size);
    const sent = sum((transfer) => transfer.sent);
    const now = performance.now() / 1000;
    const isSending = transfers.some(({ state }) => state === "sending");
    if (isSending) this.#meter.add(now, sent);
    else this.#meter.reset();
    const done = count(({ state }) => state === "done");
    const text = totalsText({
      count: transfers.length,
      done,
      failed: count(({ state }) => state === "failed"),
      paused: count(({ state }) => state === "paused"),
      size,
      sent,
      rate: isSending ? this.#meter.rate(now) : null,
      secondsLeft: isSending ? this.#meter.secondsFor(size - sent, now) : null,
    });
    const isOver = transfers.every((transfer) => transfer.isOver);
    this.#bar.hidden = transfers.length === 0;
    this.#zone.classList.toggle("small", transfers.length > 0);
    setText(this.#summary, text);
    this.#overall.value = size > 0 ? sent / size : 1;
    this.#overall.hidden = isOver;
    this.#pauseAll.hidden = !transfers.some(({ state }) => ["queued", "sending", "waiting"].includes(state));
    this.#resumeAll.hidden = !transfers.some(({ state }) => state === "paused");
    this.#clear.hidden = done === 0;
    document.title = `${transfers.length > 0 && !isOver ? `${percentOf(sent, size)} % · ` : ""}Upload · storehouse`;
    if (transfers.length === 0) return;
    // Read out now and then, and always at the end.
    if (isOver !== this.#wasOver || performance.now() - this.#announcedAt > announceEvery) this.#announce(text);
    this.#wasOver = isOver;
  }

  #wasOver = true;

  #announce(text: string): void {
    if (text === this.#announced) return;
    this.#announced = text;
    this.#announcedAt = performance.now();
    setText(this.#live, text);
  }
}

new UploadPage();
