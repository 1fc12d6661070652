// One query: its editor, the suggestions for its metric, and what the server said about it.

import { button, fill, h, note } from "./dom.ts";
import { type Editor, editor } from "./editor.ts";
import { count, short } from "./format.ts";
import { metrics, type Suggestion } from "./metrics.ts";
import type { Show } from "./state.ts";

export interface BoxActions {
  run(): void;
  remove(): void;
  use(queries: readonly string[], show: Show): void;
  /** The unit has become known after the answer. */
  unitFound(): void;
  suggest(selector: { text: string; name: string }): Promise<Suggestion[]>;
}
export interface QueryBox {
  element: HTMLElement;
  editor: Editor;
  /** The unit of the query's first metric. */
  unit: string;
  /** Show the size of an answer and its notes; nothing clears them. */
  said(answer?: { series: number; ms: number; notes: readonly string[]; limit: number }): void;
  failed(message: string): void;
}

const TRUNCATED = "results truncated due to limit";

export function queryBox(text: string, index: number, actions: BoxActions): QueryBox {
  const letter = String.fromCharCode(65 + (index % 26));
  const box = editor(text, `Query ${letter}`, () => actions.run());
  const chips = h("div", { class: "chips", role: "group", "aria-label": `Suggestions for query ${letter}` });
  const figures = h("span", { class: "figures" });
  const notes = h("div", { "aria-live": "polite" });
  const made: QueryBox = {
    element: h(
      "div",
      { class: "box" },
      h("div", { class: "line" }, h("span", { class: "letter", "aria-hidden": "true" }, letter), box.element, button("×", () => actions.remove(), { class: "icon", "aria-label": `Remove query ${letter}` })),
      h("div", { class: "under" }, chips, figures),
      notes,
    ),
    editor: box,
    unit: "",
    said: (answer) => {
      fill(notes);
      figures.textContent = answer ? `${count(answer.series)} series, ${short(answer.ms)} ms` : "";
      for (const one of answer?.notes ?? []) notes.append(one === TRUNCATED ? truncated(answer?.limit ?? 0) : note("warning", one));
      if (answer) void suggest();
    },
    failed: (message) => {
      figures.textContent = "";
      fill(notes, note("error", message));
    },
  };

  const truncated = (limit: number): HTMLElement => {
    const query = box.text().trim();
    const instead = (title: string, wrapped: string): HTMLElement => button(title, () => (box.set(wrapped), actions.run()), { class: "link" });
    return note("warning", `More than ${count(limit)} series: the first ${count(limit)} are shown. Fewer say more: `, instead("the 10 largest", `topk(10, ${query})`), " · ", instead("their sum", `sum(${query})`));
  };

  const suggest = async (): Promise<void> => {
    const selector = box.selector();
    if (!selector.name) return fill(chips);
    try {
      const unit = (await metrics()).get(selector.name)?.unit ?? "";
      if (unit !== made.unit) {
        made.unit = unit;
        actions.unitFound();
      }
      const found = await actions.suggest(selector);
      fill(chips, found.length > 0 && h("span", { class: "of" }, selector.name), ...found.map(({ text, title, queries, show }) => button(text, () => actions.use(queries, show), { title, class: "chip" })));
    } catch {
      fill(chips); // suggestions are a help: the answer has its own error
    }
  };
  return made;
}
