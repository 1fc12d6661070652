// What all views but the query have in common.

import { isAbort, messageOf } from "./api.ts";
import { fill, h, note } from "./dom.ts";
import type { State, View } from "./state.ts";

export interface Shown {
  element: HTMLElement;
  close(): void;
}
export type Go = (view: View, changes?: Partial<State>) => void;

/** A part of a view that is asked for; `load` gives its content, and an error takes its place. */
export function part(load: (signal: AbortSignal) => Promise<Node[]>): Shown & { load(): void } {
  const element = h("div", { "aria-busy": "true" });
  let controller = new AbortController();
  const run = (): void => {
    controller.abort();
    const mine = (controller = new AbortController());
    load(mine.signal).then(
      (nodes) => {
        if (mine.signal.aborted) return;
        element.removeAttribute("aria-busy");
        fill(element, ...nodes);
      },
      (error) => {
        if (mine.signal.aborted || isAbort(error)) return;
        element.removeAttribute("aria-busy");
        fill(element, note("error", messageOf(error)));
      },
    );
  };
  run();
  return { element, load: run, close: () => controller.abort() };
}

/** Ask again from time to time, while the tab is seen and nothing in `element` has the focus. */
export function repeat(seconds: number, element: HTMLElement, call: () => void): () => void {
  const timer = setInterval(() => {
    if (document.visibilityState === "visible" && !element.contains(document.activeElement)) call();
  }, seconds * 1000);
  return () => clearInterval(timer);
}

export const tile = (name: string, value: string, title = ""): HTMLElement => h("div", { class: "tile", title }, name, h("b", {}, value));
