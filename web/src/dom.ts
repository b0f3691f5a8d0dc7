/** Elements, without a framework. */

type Child = Node | string | null | undefined | false;
type Attributes = Record<string, string | number | boolean | null | undefined>;

/** An element. Attributes that are null, undefined or false are left out; text is text. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child): child is Node | string => !!child || child === ""));
  return element;
}

/** A picture that says nothing which its button does not. */
export function icon(name: string): HTMLElement {
  return h("span", { class: `icon icon-${name}`, "aria-hidden": "true" });
}

/** A button with a picture, a text, and what it is for to those who do not see what it stands beside. */
export function button(
  text: string,
  action: () => unknown,
  options: { icon?: string; class?: string; label?: string } = {},
): HTMLButtonElement {
  const made = h(
    "button",
    { type: "button", class: options.class, "aria-label": options.label },
    options.icon ? icon(options.icon) : null,
    h("span", {}, text),
  );
  made.addEventListener("click", () => void action());
  return made;
}

/** Change a text only if it changes: nothing is read out or drawn twice. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** The one element of an id, which the page has for sure. */
export function byId(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no #${id}`);
  return found;
}

/** Show times in the zone and the way of the reader. */
export function localTimes(root: ParentNode): void {
  const format = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
  for (const time of root.querySelectorAll("time")) {
    const when = new Date(time.dateTime);
    if (!Number.isNaN(when.getTime())) setText(time, format.format(when));
  }
}
