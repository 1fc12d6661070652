// What all views but the query have in common.

import { messageOf } from "./api.ts";
import { fill, h, note } from "./dom.ts";
import type { State, View } from "./state.ts";

export interface Shown {
  element: HTMLElement;
  close(): void;
}
export type Go = (view: View, changes?: Partial<State>) => void;

/**
 * A part of a view that is asked for; its content, or an error, takes its place. `load` asks again, unless the
 * answer to the last request is awaited: a server that takes longer than the pause between two would never be shown.
 */
export function part(content: (signal: AbortSignal) => Promise<Node[]>): Shown & { load(): void } {
  const element = h("div", { "aria-busy": "true" });
  const controller = new AbortController();
  let asking = false;
  const show = (...nodes: Node[]): void => {
    asking = false;
    if (controller.signal.aborted) return;
    element.removeAttribute("aria-busy");
    fill(element, ...nodes);
  };
  const load = (): void => {
    if (asking) return;
    asking = true;
    content(controller.signal).then((nodes) => show(...nodes), (error) => show(note("error", messageOf(error))));
  };
  load();
  return { element, load, close: () => controller.abort() };
}

/** Ask again from time to time, while the tab is seen and nothing in `element` has the focus. */
export function repeat(seconds: number, element: HTMLElement, call: () => void): () => void {
  const timer = setInterval(() => {
    if (document.visibilityState === "visible" && !element.contains(document.activeElement)) call();
  }, seconds * 1000);
  return () => clearInterval(timer);
}

export const tile = (name: string, value: string, title = ""): HTMLElement => h("div", { class: "tile", title }, name, h("b", {}, value));
