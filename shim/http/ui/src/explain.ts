// How the server answered: plan, statements, rows and milliseconds.

import type { Answer, Explain } from "./api.ts";
import { button, h } from "./dom.ts";
import { bytes, count, short } from "./format.ts";

/** The panel of one query. */
export function explainPanel(query: string, answer: Answer<unknown>): HTMLElement {
  const said = answer.explain;
  if (!said) return h("div");
  const same = said.plan.join("\n") === said.optimized.join("\n");
  return h(
    "section",
    { class: "explain", "aria-label": `How ${query} was answered` },
    h("h3", {}, h("code", {}, query)),
    figures(answer, said),
    h("h4", {}, same ? "Plan" : "Plan, as written and as run"),
    h("div", { class: "plans" }, !same && code(said.plan.join("\n")), code(said.optimized.join("\n"))),
    h("h4", {}, said.statements.length ? `Read by ${said.statements.length} statement${said.statements.length > 1 ? "s" : ""}` : "No statement was needed"),
    ...said.statements.map(statement),
    said.from_memory.length > 0 && h("h4", {}, "Read from memory"),
    ...said.from_memory.map((part) => h("p", {}, ...Object.entries(part).map(([name, value]) => h("span", { class: "fact" }, `${name} `, h("b", {}, typeof value === "number" ? count(value) : JSON.stringify(value)))))),
  );
}

function figures(answer: Answer<unknown>, said: Explain): HTMLElement {
  const rows = said.statements.reduce((sum, { rows }) => sum + rows, 0);
  const from = [said.statements.length > 0 && "ClickHouse", said.from_memory.length > 0 && "memory"].filter(Boolean).join(" and ") || "neither store nor memory";
  const fact = (name: string, value: string): HTMLElement => h("span", { class: "fact" }, `${name} `, h("b", {}, value));
  return h("p", {}, fact("from", from), fact("rows", count(rows)), ...Object.entries(said.timings).map(([name, ms]) => fact(name.replace(/_ms$/, "").replaceAll("_", " "), `${short(ms)} ms`)), fact("whole request", `${short(answer.ms)} ms`), fact("answer", bytes(answer.bytes)));
}

function statement({ sql, rows, wall_ms }: Explain["statements"][number]): HTMLElement {
  const text = readable(sql);
  return h("details", {}, h("summary", {}, `${count(rows)} rows in ${short(wall_ms)} ms: `, h("code", {}, `${sql.slice(0, 90)}…`)), button("Copy SQL", () => void navigator.clipboard?.writeText(sql)), code(text));
}

/** Break a statement before its clauses; texts in quotes stay whole. */
function readable(sql: string): string {
  return sql
    .split(/('(?:[^'\\]|\\.)*')/)
    .map((part, i) => (i % 2 ? part : part.replace(/ (FROM|PREWHERE|WHERE|GROUP BY|ORDER BY|HAVING|LIMIT|SETTINGS|UNION ALL|AND) /g, (_, word: string) => `\n${word === "AND" ? "  " : ""}${word} `)))
    .join("");
}

const code = (text: string): HTMLElement => h("pre", { tabindex: "0" }, h("code", {}, text));
