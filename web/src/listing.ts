/** The list of files: links and deletes without leaving the page. */

import { call, pathOf } from "./api";
import { confirmed, shareFile } from "./dialogs";
import { byId, h, localTimes, setText } from "./dom";

const app = byId("app");
const longestLifetime = Number(app.dataset["linkLifetime"] ?? 86400);
const live = h("p", { role: "status", class: "notice", hidden: true });
document.querySelector("main .title")?.after(live);

function say(text: string, kind: "good" | "bad"): void {
  live.hidden = false;
  live.className = `notice ${kind}`;
  setText(live, text);
}

async function remove(row: HTMLTableRowElement, name: string): Promise<void> {
  if (!(await confirmed("Delete the file?", `${name} is removed from the server. This cannot be undone.`, "Delete")))
    return;
  try {
    await call("DELETE", pathOf(name));
  } catch (error) {
    say(`${name} was not deleted: ${error instanceof Error ? error.message : String(error)}`, "bad");
    return;
  }
  const next = row.nextElementSibling ?? row.previousElementSibling;
  row.remove();
  say(`${name} was deleted.`, "good");
  if (next === null)
    location.reload(); // so that the page says that nothing is left
  else next.querySelector<HTMLElement>("a")?.focus();
}

document.addEventListener("submit", (event) => {
  const form = event.target as HTMLFormElement;
  const row = form.closest("tr");
  const name = row?.dataset["name"];
  const action = form.dataset["action"];
  if (row === null || name === undefined || action === undefined) return;
  event.preventDefault();
  if (action === "link") shareFile(name, longestLifetime);
  else void remove(row, name);
});

localTimes(document);
