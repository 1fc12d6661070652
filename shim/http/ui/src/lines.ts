// The fate of a line: how an agent reads it, and which lines were refused.

import { get, isAbort, messageOf, post } from "./api.ts";
import { fill, h, note } from "./dom.ts";
import { count, quoted } from "./format.ts";
import { table } from "./table.ts";
import { formatTime } from "./time.ts";
import { part, repeat, type Shown } from "./view.ts";
import type { Status } from "./status.ts";

interface Explained {
  line: string;
  outcome: "taken" | "skipped" | "refused";
  reason: string;
  because: string;
  type: string;
  name: string;
  tags: Record<string, string>;
  values: (number | null)[];
  deltas: boolean[];
  sign: string;
  member: string;
  weight: number;
  divisor: number;
  scale: number;
  ignored: string[];
  mapping: { number: number; line: number; match: string; why: string } | null;
  bucket: number;
  moved: "" | "old" | "future";
  note: string;
}
const EXAMPLE = "shop.requests:1|c|#route:/cart\nshop.request.duration:42:58|ms|@0.5|#route:/cart\nshop.queue.depth:12";

export function linesView(utc: boolean): Shown {
  const box = h("textarea", { rows: 4, spellcheck: "false", "aria-label": "StatsD lines", placeholder: "shop.requests:1|c|#route:/cart" });
  box.value = EXAMPLE;
  const results = h("div", { "aria-live": "polite" });
  let controller = new AbortController();
  let timer = 0;
  const ask = async (): Promise<void> => {
    controller.abort();
    controller = new AbortController();
    try {
      const { data } = await post<{ lines: Explained[]; leftOut: number; ownAgent: boolean }>("meterhouse/lines", { lines: box.value }, controller.signal);
      fill(results, h("p", {}, data.ownAgent ? "Read with the settings and the mapping of this server's own agent. Nothing is stored." : "Read with an agent's default settings, without a mapping file: this server has no agent beside it. Nothing is stored."), ...data.lines.map((one) => lineCard(one, utc)), ...leftOut(data.leftOut));
    } catch (error) {
      if (!isAbort(error)) fill(results, note("error", messageOf(error)));
    }
  };
  box.addEventListener("input", () => {
    clearTimeout(timer);
    timer = window.setTimeout(() => void ask(), 200);
  });
  void ask();
  const refused = part(refusedPart);
  const stop = repeat(10, refused.element, () => refused.load());
  return {
    element: h("div", {}, h("h1", {}, "Lines"), h("p", {}, "Type StatsD or DogStatsD lines, and see how an agent reads them."), box, results, h("h2", {}, "Refused lines"), refused.element),
    close: () => {
      clearTimeout(timer);
      stop();
      controller.abort();
      refused.close();
    },
  };
}

function leftOut(lines: number): HTMLElement[] {
  return lines ? [note("warning", `${count(lines)} further ${lines === 1 ? "line is" : "lines are"} not shown in full: paste fewer lines to see ${lines === 1 ? "it" : "them"}.`)] : [];
}

function lineCard(one: Explained, utc: boolean): HTMLElement {
  const tags = Object.entries(one.tags).map(([key, value]) => `${key}=${quoted(value)}`).join(", ");
  const facts: [string, string][] = one.outcome === "taken"
    ? [["series", `${one.name}{${tags}}`], ["adds", adds(one)], ["bucket", `${formatTime(one.bucket, utc)}${one.moved ? ` (moved to the ${one.moved === "old" ? "oldest" : "latest"} accepted time)` : ""}`]]
    : [[one.reason, one.because]];
  if (one.mapping) facts.push(["mapping", `entry ${one.mapping.number} (${one.mapping.match}), line ${one.mapping.line}${one.mapping.why ? `: ${one.mapping.why}` : ""}`]);
  if (one.sign) facts.push(["sign", one.sign]);
  if (one.note) facts.push(["note", one.note]);
  if (one.ignored.length) facts.push(["left out", one.ignored.join(", ")]);
  return h("div", { class: "card" }, h("p", {}, h("span", { class: `state ${one.outcome}` }, one.outcome), " ", one.type && h("b", {}, one.type), " ", h("code", {}, one.line)), h("dl", {}, ...facts.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])));
}

function adds(one: Explained): string {
  if (one.type === "set") return `member ${one.member}`;
  const values = one.values.map((value, i) => (one.deltas[i] ? `${value} to its last value` : String(value))).join(", ");
  return values + (one.weight !== 1 ? `, each ${one.weight} times` : "") + (one.divisor !== 1 ? " (milliseconds as seconds)" : "") + (one.scale !== 1 ? ` (scaled by ${one.scale})` : "");
}

async function refusedPart(signal: AbortSignal): Promise<Node[]> {
  const { agents, reasons, indexersNotReached } = (await get<Status>("meterhouse/status", {}, signal)).data;
  const rows = agents.flatMap((one) => Object.entries(one.refused_lines ?? {}).map(([reason, lines]) => ({ agent: one.agent, reason, lines })));
  const total = agents.reduce((sum, one) => sum + (one.lines ?? 0), 0);
  return [
    ...indexersNotReached.map((why) => note("warning", `An indexer was not asked: ${why}`)),
    h("p", {}, rows.length
      ? `Of ${count(total)} lines of the agents that were heard of in the last minutes, each since its start:`
      : `No agent of yours that was heard of in the last minutes has refused a line; they have read ${count(total)} since they started.`),
    ...(rows.length ? [table("Refused lines", [
      { title: "agent", key: (row) => row.agent },
      { title: "reason", key: (row) => row.reason },
      { title: "because", key: (row) => reasons[row.reason] ?? "" },
      { title: "lines", key: (row) => row.lines, cell: (row) => count(row.lines), numeric: true },
    ], rows, 3)] : []),
  ];
}
