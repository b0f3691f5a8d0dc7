/** Questions to the reader. */

import { ApiError, call } from "./api";
import { button, h, icon, setText } from "./dom";
import { durationText } from "./format";

let count = 0;

function open(title: string, ...content: (Node | string)[]): HTMLDialogElement {
  const id = `dialog-${++count}`;
  const dialog = h("dialog", { "aria-labelledby": id }, h("h2", { id }, title), ...content);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** Ask whether something is really meant. */
export function confirmed(title: string, text: string, yes: string): Promise<boolean> {
  return new Promise((resolve) => {
    const form = h(
      "form",
      { method: "dialog", class: "actions" },
      h("button", { value: "no" }, "Cancel"),
      h("button", { value: "yes", class: "danger" }, yes),
    );
    const dialog = open(title, h("p", {}, text), form);
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"));
  });
}

/** Put a text on the clipboard, or else select it for the reader to do so. */
async function copy(field: HTMLTextAreaElement): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(field.value);
    return true;
  } catch {
    field.select();
    return false;
  }
}

const lifetimes = [900, 3600, 86400, 7 * 86400, 30 * 86400];

/** The choice of how long a link works. */
function lifetimeField(longest: number): HTMLSelectElement {
  const usable = lifetimes.filter((seconds) => seconds <= longest);
  if (usable.length === 0) usable.push(longest);
  const chosen = usable.includes(86400) ? 86400 : usable.at(-1)!;
  const words = (seconds: number) =>
    seconds === 86400
      ? "1 day"
      : durationText(seconds).replace(/ d$/, " days").replace(/ h$/, " hour").replace(/ min$/, " minutes");
  return h(
    "select",
    { name: "expires" },
    ...usable.map((seconds) => h("option", { value: seconds, selected: seconds === chosen }, words(seconds))),
  );
}

function labelled(text: string, field: HTMLElement): HTMLLabelElement {
  return h("label", {}, h("span", {}, text), field);
}

interface LinkRequest {
  method: "GET" | "PUT";
  name: string;
  expires: number;
  once?: boolean;
  prefix?: boolean;
  max_bytes?: number;
}

function linkDialog(
  title: string,
  intro: string,
  fields: HTMLElement[],
  request: () => LinkRequest,
  explain: (url: string) => string,
): void {
  const problem = h("p", { class: "notice bad", role: "alert", hidden: true });
  const said = h("p", { class: "hint", role: "status" });
  const result = h("textarea", { readonly: true, rows: 7, class: "link", "aria-label": "Link" });
  const create = h("button", { class: "primary" }, icon("link"), h("span", {}, "Create link"));
  const copyAgain = button(
    "Copy",
    async () => setText(said, (await copy(result)) ? "Copied." : "Press Ctrl+C to copy."),
    { icon: "copy", class: "primary" },
  );
  const close = button("Close", () => dialog.close());
  const made = h("div", { class: "stack", hidden: true }, result, said, h("div", { class: "actions" }, copyAgain));
  const form = h("form", { class: "stack" }, ...fields, problem, h("div", { class: "actions" }, create));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    problem.hidden = true;
    create.disabled = true;
    try {
      const { url } = await call<{ url: string }>("POST", "/links", request());
      result.value = url;
      form.hidden = true;
      made.hidden = false;
      const isCopied = await copy(result);
      setText(said, `${isCopied ? "Copied. " : ""}${explain(url)}`);
      copyAgain.focus();
    } catch (error) {
      problem.hidden = false;
      setText(problem, error instanceof ApiError ? error.message : String(error));
    } finally {
      create.disabled = false;
    }
  });
  const dialog = open(title, h("p", {}, intro), form, made, h("div", { class: "close" }, close));
}

/** Make a link by which somebody without an account can read a file. */
export function shareFile(name: string, longestLifetime: number): void {
  const expires = lifetimeField(longestLifetime);
  const once = h("input", { type: "checkbox", name: "once" });
  linkDialog(
    "Link to a file",
    `Anyone with the link can read ${name}, without signing in.`,
    [labelled("Valid for", expires), h("label", { class: "check" }, once, h("span", {}, "Works only once"))],
    () => ({ method: "GET", name, expires: Number(expires.value), ...(once.checked ? { once: true } : {}) }),
    () => "Anybody with the link can open it in a browser.",
  );
}

/** Make a link by which somebody without an account can send a file. */
export function requestFile(longestLifetime: number): void {
  const expires = lifetimeField(longestLifetime);
  const name = h("input", {
    name: "name",
    required: true,
    spellcheck: "false",
    autocapitalize: "none",
    placeholder: "report.pdf",
  });
  const once = h("input", { type: "checkbox", name: "once", checked: true });
  linkDialog(
    "Ask for a file",
    "Anybody with the link can store one file under this name, without signing in. It allows no reading.",
    [
      labelled("Name of the file", name),
      labelled("Valid for", expires),
      h("label", { class: "check" }, once, h("span", {}, "Works only once")),
    ],
    () => ({
      method: "PUT",
      name: name.value.trim(),
      expires: Number(expires.value),
      ...(once.checked ? { once: true } : {}),
    }),
    () => "Use it with curl -T FILE and the link in quotation marks.",
  );
}
