// Elements without a framework. Text is always a text node: no string ever becomes markup.

export type Child = Node | string | number | null | undefined | false;
type Attributes = Record<string, unknown>;

/** Make an element. `on…` attributes are listeners, `class` and other names are attributes. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value as EventListener);
    else if (value === true) element.setAttribute(name, "");
    else element.setAttribute(name, String(value));
  }
  add(element, children);
  return element;
}

function add(parent: Node, children: Child[]): void {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    parent.appendChild(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

/** Replace the content of an element. */
export function fill(parent: Element, ...children: Child[]): void {
  parent.replaceChildren();
  add(parent, children);
}

export function button(text: string, onclick: (event: Event) => void, attributes: Attributes = {}): HTMLButtonElement {
  return h("button", { type: "button", onclick, ...attributes }, text);
}

/** A button that is on or off. */
export function toggle(text: string, on: boolean, change: (on: boolean) => void, title = ""): HTMLButtonElement {
  const made = button(text, () => {
    const now = made.getAttribute("aria-pressed") !== "true";
    made.setAttribute("aria-pressed", String(now));
    change(now);
  }, { class: "toggle", "aria-pressed": String(on), title });
  return made;
}

/** Several buttons of which one is on. */
export function choice<T extends string>(
  label: string,
  options: readonly (readonly [T, string])[],
  chosen: T,
  change: (value: T) => void,
): HTMLElement {
  const buttons = options.map(([value, text]) =>
    button(text, () => {
      for (const [i, [other]] of options.entries()) buttons[i]?.setAttribute("aria-pressed", String(other === value));
      change(value);
    }, { "aria-pressed": String(value === chosen) }),
  );
  return h("div", { class: "choice", role: "group", "aria-label": label }, ...buttons);
}

/** Offer a text as a file. */
export function download(name: string, type: string, text: string): void {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = h("a", { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** A message above or in place of content; errors are announced. */
export function note(kind: "error" | "warning" | "info", ...children: Child[]): HTMLElement {
  return h("p", { class: `note ${kind}`, role: kind === "error" ? "alert" : "status" }, ...children);
}
