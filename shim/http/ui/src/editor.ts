// The query box: PromQL with colours and completion. It lives in a shadow root, where its styles need no
// exception from the page's Content-Security-Policy.

import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, insertNewlineAndIndent } from "@codemirror/commands";
import { bracketMatching, ensureSyntaxTree, HighlightStyle, syntaxHighlighting } from "@codemirror/language";
import { EditorState, Prec } from "@codemirror/state";
import { EditorView, keymap, placeholder } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { PromQLExtension } from "@prometheus-io/codemirror-promql";

import { accessHeaders } from "./access.ts";
import { urlOf } from "./api.ts";
import { h } from "./dom.ts";

const theme = EditorView.theme({
  "&": { fontSize: "14px", backgroundColor: "var(--field)", color: "var(--text)", borderRadius: "6px", border: "1px solid var(--edge)" },
  "&.cm-focused": { outline: "2px solid var(--accent)", outlineOffset: "0" },
  ".cm-content": { fontFamily: "var(--mono)", padding: "8px 4px", caretColor: "var(--text)", minHeight: "20px" },
  ".cm-line": { padding: "0 6px" },
  ".cm-placeholder": { color: "var(--soft)" },
  ".cm-cursor": { borderLeftColor: "var(--text)" },
  ".cm-matchingBracket": { backgroundColor: "var(--mark)", outline: "none" },
  "&.cm-focused .cm-selectionBackground, .cm-selectionBackground": { backgroundColor: "var(--mark)" },
  ".cm-tooltip": { backgroundColor: "var(--card)", color: "var(--text)", border: "1px solid var(--edge)", borderRadius: "6px" },
  ".cm-tooltip-autocomplete > ul": { fontFamily: "var(--mono)", maxWidth: "min(90vw, 640px)" },
  ".cm-tooltip-autocomplete ul li[aria-selected]": { backgroundColor: "var(--accent)", color: "var(--on-accent)" },
  ".cm-completionDetail": { color: "inherit", opacity: "0.85" },
});

const colours = HighlightStyle.define([
  { tag: tags.keyword, color: "var(--code-word)" },
  { tag: tags.operatorKeyword, color: "var(--code-word)" },
  { tag: tags.modifier, color: "var(--code-word)" },
  { tag: tags.function(tags.variableName), color: "var(--code-function)" },
  { tag: tags.labelName, color: "var(--code-label)" },
  { tag: tags.string, color: "var(--code-text)" },
  { tag: tags.number, color: "var(--code-number)" },
  { tag: tags.comment, color: "var(--soft)" },
]);

/** Enough for the longest query; an editor that is slow parses on while nobody waits for it. */
const MAX_PARSE_MS = 5_000;

export interface Editor {
  element: HTMLElement;
  text(): string;
  set(text: string): void;
  focus(): void;
  /** The first selector of the query, as written: `x{a="b"}`; "" without one. */
  selector(): { text: string; name: string };
  close(): void;
}

export function editor(text: string, label: string, run: () => void): Editor {
  const host = h("div", { class: "editor" });
  const root = host.attachShadow({ mode: "open" });
  const fetchFn = (input: RequestInfo | URL, init: RequestInit = {}): Promise<Response> =>
    fetch(input, { ...init, headers: { ...accessHeaders(), ...(init.headers as Record<string, string>) } });
  const promql = new PromQLExtension()
    .activateLinter(false) // the server judges: it knows what it accepts
    .setComplete({ remote: { url: urlOf(".").replace(/\/$/, ""), fetchFn, httpMethod: "GET", cache: { maxAge: 30_000 }, httpErrorHandler: () => {} } });
  const runKeys = Prec.highest(
    keymap.of([
      { key: "Mod-Enter", run: () => (run(), true) },
      { key: "Shift-Enter", run: insertNewlineAndIndent },
    ]),
  );
  const enter = keymap.of([{ key: "Enter", run: () => (run(), true) }]); // after completion's own Enter
  const view = new EditorView({
    root,
    parent: root,
    state: EditorState.create({
      doc: text,
      extensions: [
        runKeys,
        history(),
        closeBrackets(),
        bracketMatching(),
        autocompletion({ icons: false, activateOnTyping: true }),
        keymap.of([...closeBracketsKeymap, ...completionKeymap]),
        enter,
        keymap.of([...historyKeymap, ...defaultKeymap]),
        EditorView.lineWrapping,
        EditorView.contentAttributes.of({ "aria-label": label, spellcheck: "false", autocapitalize: "off" }),
        placeholder("PromQL, for example: sum by (route) (rate(shop_requests[1m]))"),
        syntaxHighlighting(colours),
        theme,
        promql.asExtension(),
      ],
    }),
  });
  const content = (): string => view.state.doc.toString();
  return {
    element: host,
    text: content,
    set: (given) => view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: given } }),
    focus: () => view.focus(),
    selector: () => {
      let found = { text: "", name: "" };
      // The tree that the editor has may end before the text: it parses for 20 ms, and the rest when it is idle.
      ensureSyntaxTree(view.state, view.state.doc.length, MAX_PARSE_MS)?.iterate({
        enter: (node) => {
          if (found.text || node.name !== "VectorSelector") return;
          const written = content().slice(node.from, node.to);
          const named = node.node.getChild("Identifier");
          const quotedName = /^\{\s*"((?:[^"\\]|\\.)+)"\s*[,}]/.exec(written);
          found = { text: written, name: named ? content().slice(named.from, named.to) : (quotedName?.[1] ?? "") };
        },
      });
      return found;
    },
    close: () => {
      promql.destroy();
      view.destroy();
    },
  };
}
