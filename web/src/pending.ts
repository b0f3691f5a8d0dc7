/** The list of uploads that were begun before the page was loaded. */

import { call } from "./api";
import { button, h, icon, setText } from "./dom";
import type { Chosen } from "./entries";
import { sizeText } from "./format";
import { dropHandle, fileOf, keptHandles } from "./handles";
import { isSame, type Unfinished, type UnfinishedStore } from "./unfinished";

interface Surroundings {
  store: UnfinishedStore;
  /** Resume an upload. */
  go(chosen: Chosen, entry: Unfinished): void;
  announce(text: string): void;
}

export class UnfinishedList {
  readonly element = h("section", { class: "unfinished", hidden: true, "aria-labelledby": "unfinished-title" });
  readonly #around: Surroundings;
  readonly #rows = new Map<string, { entry: Unfinished; element: HTMLElement }>();
  readonly #list = h("ul", { class: "transfers" });

  constructor(around: Surroundings) {
    this.#around = around;
    this.element.append(
      h("h2", { id: "unfinished-title" }, "Unfinished"),
      h("p", { class: "hint" }, "Choose or drop the same files again to resume them."),
      this.#list,
    );
  }

  get entries(): Unfinished[] {
    return [...this.#rows.values()].map(({ entry }) => entry);
  }

  async show(entries: readonly Unfinished[]): Promise<void> {
    const handles = await keptHandles();
    for (const entry of entries) {
      if (this.#rows.has(entry.id)) continue;
      const element = this.#row(entry, handles.has(entry.id));
      this.#rows.set(entry.id, { entry, element });
      this.#list.append(element);
    }
    this.element.hidden = this.#rows.size === 0;
    if (entries.length > 0)
      this.#around.announce(`${entries.length === 1 ? "One upload is" : `${entries.length} uploads are`} unfinished`);
  }

  /** It was resumed or removed. */
  remove(id: string): void {
    this.#rows.get(id)?.element.remove();
    this.#rows.delete(id);
    this.element.hidden = this.#rows.size === 0;
  }

  #row(entry: Unfinished, hasHandle: boolean): HTMLElement {
    const problem = h("p", { class: "problem", role: "alert" });
    const input = h("input", { type: "file", hidden: true, "aria-label": `The file ${entry.path}` });
    const take = (file: File) => {
      if (isSame(file, entry.path, entry)) this.#around.go({ file, path: entry.path }, entry);
      else setText(problem, `That is not the same file: ${differenceOf(file, entry)}.`);
    };
    input.addEventListener("change", () => {
      const file = input.files?.[0];
      input.value = "";
      if (file !== undefined) take(file);
    });
    const resumeText = hasHandle ? "Resume" : "Choose the file";
    const resume = async () => {
      const file = hasHandle ? await fileOf(entry.id) : null;
      if (file !== null) take(file);
      else input.click();
    };
    const discard = async () => {
      try {
        await call("DELETE", `/tus/${entry.id}`);
      } catch (error) {
        setText(problem, error instanceof Error ? error.message : String(error));
        return;
      }
      this.#around.store.remove(entry.id);
      void dropHandle(entry.id);
      this.remove(entry.id);
      this.#around.announce(`${entry.path} was discarded`);
    };
    const begun = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" }).format(entry.begun);
    return h(
      "li",
      { class: "transfer", "data-state": "unfinished", "data-path": entry.path },
      icon("file"),
      h(
        "div",
        { class: "what" },
        h("div", { class: "head" }, h("span", { class: "name" }, entry.path)),
        h("progress", {
          max: 1,
          value: entry.size > 0 ? entry.offset / entry.size : 1,
          "aria-label": `Progress of ${entry.path}`,
        }),
        h("p", { class: "status" }, `${sizeText(entry.offset)} of ${sizeText(entry.size)} · begun ${begun}`),
        problem,
      ),
      h(
        "div",
        { class: "buttons" },
        button(resumeText, resume, { icon: "play", class: "quiet", label: `${resumeText}: ${entry.path}` }),
        button("Discard", discard, { icon: "bin", class: "quiet danger", label: `Discard ${entry.path}` }),
        input,
      ),
    );
  }
}

function differenceOf(file: File, entry: Unfinished): string {
  if (file.size !== entry.size) return `it has ${sizeText(file.size)}, not ${sizeText(entry.size)}`;
  if (entry.modified !== null && file.lastModified !== entry.modified) return "it was changed since";
  return "it has another name";
}
