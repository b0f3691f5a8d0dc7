/** One transfer as the reader sees it. */

import { call, pathOf } from "./api";
import { confirmed, shareFile } from "./dialogs";
import { button, h, icon, setText } from "./dom";
import { statusText } from "./status";
import type { State, Transfer } from "./transfer";

const badges: Record<State, string> = {
  queued: "Waiting",
  sending: "Uploading",
  paused: "Paused",
  waiting: "Interrupted",
  checking: "Checking",
  done: "Stored",
  failed: "Failed",
  removed: "",
};

/** What a row asks its page to do. */
export interface RowActions {
  pump(): void;
  forget(transfer: Transfer): void;
  announce(text: string): void;
  longestLifetime: number;
}

export class Row {
  readonly element: HTMLLIElement;
  readonly #transfer: Transfer;
  readonly #actions: RowActions;
  readonly #name = h("span", { class: "name" });
  readonly #badge = h("span", { class: "badge" });
  readonly #progress: HTMLProgressElement;
  readonly #status = h("p", { class: "status" });
  readonly #checksum = h("p", { class: "checksum", hidden: true });
  readonly #buttons = h("div", { class: "buttons" });
  #shown: State | null = null;

  constructor(transfer: Transfer, actions: RowActions) {
    this.#transfer = transfer;
    this.#actions = actions;
    this.#progress = h("progress", { max: 1, value: 0, "aria-label": `Progress of ${transfer.path}` });
    setText(this.#name, transfer.path);
    this.element = h(
      "li",
      { class: "transfer", "data-path": transfer.path },
      icon("file"),
      h(
        "div",
        { class: "what" },
        h("div", { class: "head" }, this.#name, this.#badge),
        this.#progress,
        this.#status,
        this.#checksum,
      ),
      this.#buttons,
    );
    this.draw();
  }

  /** Show what is the case now. */
  draw(): void {
    const transfer = this.#transfer;
    const size = transfer.file.size;
    const now = performance.now();
    const done = transfer.state === "checking" ? transfer.hashed : transfer.sent;
    this.#progress.value = size === 0 ? Number(transfer.state === "done") : done / size;
    setText(
      this.#status,
      statusText({
        state: transfer.state,
        size,
        sent: transfer.sent,
        hashed: transfer.hashed,
        rate: transfer.meter.rate(now / 1000),
        secondsLeft: transfer.meter.secondsFor(size - transfer.sent, now / 1000),
        secondsToRetry: (transfer.retryAt - now) / 1000,
        isOnline: navigator.onLine,
        problem: transfer.problem,
      }),
    );
    if (transfer.state !== this.#shown) this.#drawState(transfer.state);
  }

  #drawState(state: State): void {
    this.#shown = state;
    this.element.dataset["state"] = state;
    setText(this.#badge, badges[state]);
    this.#progress.hidden = state === "done" || state === "failed";
    // The keyboard's focus moves to the button that takes the place of the pressed one.
    const hadFocus = this.#buttons.contains(document.activeElement);
    this.#buttons.replaceChildren(...this.#buttonsFor(state));
    if (hadFocus) this.#buttons.querySelector("button")?.focus();
    if (state === "done") this.#drawStored();
  }

  #drawStored(): void {
    const { name, checksums, agrees, path, problem } = this.#transfer;
    this.#name.replaceChildren(h("a", { href: pathOf(name) }, path));
    if (name !== path) this.#name.append(h("span", { class: "hint" }, ` stored as ${name}`));
    if (checksums === null) {
      if (problem) setText(this.#status, `${this.#status.textContent ?? ""} · not compared: ${problem}`);
      return;
    }
    const verdict =
      agrees === null
        ? ["info", "each part was verified on arrival"]
        : agrees
          ? ["good", "the same on the server"]
          : ["bad", "not the same on the server"];
    this.#checksum.replaceChildren(
      h(
        "span",
        { class: `verdict ${verdict[0]}` },
        icon(agrees === false ? "cross" : "check"),
        h("span", {}, verdict[1]!),
      ),
      h("span", { class: "sum" }, "SHA-256 ", h("code", { title: `CRC32C ${checksums.crc32c}` }, checksums.sha256)),
    );
    this.#checksum.hidden = false;
  }

  #buttonsFor(state: State): HTMLButtonElement[] {
    const transfer = this.#transfer;
    const { path } = transfer;
    const { pump, forget, announce, longestLifetime } = this.#actions;
    const cancel = button("Cancel", () => transfer.remove(), {
      icon: "cross",
      class: "quiet",
      label: `Cancel ${path}`,
    });
    const resume = (text: string) =>
      button(text, () => (transfer.resume(), pump()), { icon: "play", class: "quiet", label: `${text} ${path}` });
    switch (state) {
      case "waiting":
        return [
          button("Retry now", () => transfer.retryNow(), {
            icon: "again",
            class: "quiet",
            label: `Retry now: ${path}`,
          }),
          button("Pause", () => transfer.pause(), { icon: "pause", class: "quiet", label: `Pause ${path}` }),
          cancel,
        ];
      case "queued":
      case "sending":
        return [
          button("Pause", () => transfer.pause(), { icon: "pause", class: "quiet", label: `Pause ${path}` }),
          cancel,
        ];
      case "paused":
        return [resume("Resume"), cancel];
      case "failed":
        return [resume("Retry"), cancel];
      case "done":
        return [
          button("Link", () => shareFile(transfer.name, longestLifetime), {
            icon: "link",
            class: "quiet",
            label: `Make a link to ${transfer.name}`,
          }),
          button("Delete", () => this.#delete(forget, announce), {
            icon: "bin",
            class: "quiet danger",
            label: `Delete ${transfer.name}`,
          }),
        ];
      default:
        return [];
    }
  }

  async #delete(forget: (transfer: Transfer) => void, announce: (text: string) => void): Promise<void> {
    const { name } = this.#transfer;
    if (!(await confirmed("Delete the file?", `${name} is removed from the server. This cannot be undone.`, "Delete")))
      return;
    try {
      await call("DELETE", pathOf(name));
      forget(this.#transfer);
      announce(`${name} was deleted`);
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      setText(this.#status, `not deleted: ${text}`);
      announce(`${name} was not deleted: ${text}`);
    }
  }
}
