// The state of the server: agents, gaps, lag, spool, retention, disk.

import { get, urlOf } from "./api.ts";
import { h, note } from "./dom.ts";
import { bytes, count, short } from "./format.ts";
import { table } from "./table.ts";
import { ago, formatTime } from "./time.ts";
import { part, repeat, type Shown, tile } from "./view.ts";

export interface Agent {
  org_id: number;
  project_id: number;
  agent: string;
  heard_s_ago: number;
  flushed_until_s: number;
  ended: boolean;
  clock_ahead_s: number | null;
  missing_frames: number | null;
  missing?: unknown[];
  /** Null or missing from older agents and indexers. */
  lines?: number | null;
  refused_lines?: Record<string, number>;
  unsent_bytes?: number;
  version?: string;
}
export interface Status {
  agents: Agent[];
  indexersNotReached: string[];
  /** Reasons of refused lines in words. */
  reasons: Record<string, string>;
  agent?: { missing?: string; numbers?: Record<string, number>; refused?: { reason: string; lines: number }[] };
  store?: { table: string; rows: number; bytes: number; since: number }[];
  orgs?: { org: number; project: number; series: number }[];
  retention: Record<string, number | string>;
}
interface Build {
  version: string;
  revision: string;
  goVersion: string;
}
const LATE_S = 30;
const LINKS = ["-/healthy", "-/ready", "metrics", "api/v1/metadata", "ui/links", "ui/licenses.txt"];

export function statusView(utc: boolean): Shown {
  const shown = part(async (signal) => {
    const [status, build, runtime] = await Promise.all([
      get<Status>("meterhouse/status", {}, signal),
      get<Build>("status/buildinfo", {}, signal),
      get<{ startTime: string }>("status/runtimeinfo", {}, signal),
    ]);
    const { agents, indexersNotReached, agent, store, retention } = status.data;
    return [
      h("p", {}, `Meterhouse ${build.data.revision}, ${build.data.goVersion}, started ${ago((Date.now() - Date.parse(runtime.data.startTime)) / 1000)}. It answers as Prometheus ${build.data.version}.`),
      h("h2", {}, "Agents"),
      ...indexersNotReached.map((why) => note("warning", `An indexer was not asked: ${why}`)),
      agents.length ? agentTable(agents, utc) : note("info", "No agent of your org was heard of."),
      ...(agent ? [h("h2", {}, "The agent of this server"), ...ownAgent(agent)] : []),
      h("h2", {}, "Retention"),
      h("div", { class: "tiles" }, ...Object.entries(retention).filter(([name]) => name.startsWith("days_")).map(([name, days]) => tile(`rollup of ${name.slice(5)}`, `${days} days`))),
      ...(store ? [h("h2", {}, "Disk"), disk(store, utc)] : []),
      h("h2", {}, "Paths"),
      h("ul", {}, ...LINKS.map((path) => h("li", {}, h("a", { href: urlOf(path) }, path)))),
    ];
  });
  const stop = repeat(10, shown.element, () => shown.load());
  return { element: h("div", {}, h("h1", {}, "Status"), shown.element), close: () => (stop(), shown.close()) };
}

export const refusedLines = (one: Agent): number => Object.values(one.refused_lines ?? {}).reduce((sum, n) => sum + n, 0);

function agentTable(agents: readonly Agent[], utc: boolean): HTMLElement {
  const state = (one: Agent): string => (one.ended ? "ended" : one.heard_s_ago > LATE_S ? "silent" : "heard");
  const lag = (one: Agent): number => (one.flushed_until_s ? Date.now() / 1000 - one.flushed_until_s : NaN);
  return table("Agents", [
    { title: "agent", key: (one) => one.agent },
    { title: "version", key: (one) => one.version ?? "", cell: (one) => one.version || "not told" },
    { title: "org:project", key: (one) => `${one.org_id}:${one.project_id}` },
    { title: "state", key: state, cell: (one) => h("span", { class: `state ${state(one) === "silent" ? "bad" : ""}` }, state(one)) },
    { title: "heard", key: (one) => one.heard_s_ago, cell: (one) => ago(one.heard_s_ago), numeric: true },
    { title: "lag", key: lag, cell: (one) => (one.ended || Number.isNaN(lag(one)) ? "" : `${lag(one).toFixed(0)} s`), numeric: true },
    { title: "complete until", key: (one) => one.flushed_until_s, cell: (one) => (one.flushed_until_s ? formatTime(one.flushed_until_s, utc) : ""), numeric: true },
    { title: "clock ahead", key: (one) => one.clock_ahead_s ?? NaN, cell: (one) => (one.clock_ahead_s === null ? "" : `${short(one.clock_ahead_s)} s`), numeric: true },
    { title: "lines", key: (one) => one.lines ?? -1, cell: (one) => (typeof one.lines === "number" ? count(one.lines) : "not told"), numeric: true },
    { title: "refused", key: refusedLines, cell: (one) => h("span", { class: refusedLines(one) ? "state bad" : "" }, count(refusedLines(one))), numeric: true },
    { title: "unsent", key: (one) => one.unsent_bytes ?? 0, cell: (one) => bytes(one.unsent_bytes ?? 0), numeric: true },
    { title: "missing frames", key: (one) => one.missing_frames ?? -1, cell: (one) => (one.missing_frames === null ? "not judged" : h("span", { class: one.missing_frames ? "state bad" : "" }, count(one.missing_frames))), numeric: true },
  ], agents);
}

function ownAgent(agent: NonNullable<Status["agent"]>): HTMLElement[] {
  const { numbers, missing, refused = [] } = agent;
  if (!numbers) return [note("info", missing ?? "It shows no numbers.")];
  const of = (name: string): number => numbers[name] ?? 0;
  const lost = of("lostLines");
  const dropped = of("kernelDroppedPackets") + of("droppedPackets");
  return [h("div", { class: "tiles" },
    tile("lines", count(of("lines"))),
    tile("refused lines", count(refused.reduce((sum, one) => sum + one.lines, 0)), "The page Lines shows their reasons"),
    tile("series now", count(of("series"))),
    tile("packets dropped", count(dropped), "By the kernel (receive buffer full) and by source"),
    tile("unsent", bytes(of("unsentBytes")), `${count(of("unsentFrames"))} frames, the oldest ${short(of("oldestUnsentSeconds"))} s`),
    tile("spool on disk", bytes(of("spoolBytes")), `${count(of("spoolFrames"))} frames, ${count(of("spoolErrors"))} failed writes`),
    tile("lines lost", count(lost)))];
}

function disk(store: NonNullable<Status["store"]>, utc: boolean): HTMLElement {
  const total = store.reduce((sum, one) => sum + one.bytes, 0);
  return h("div", {}, h("p", {}, `${bytes(total)} in all, compressed.`), table("Tables", [
    { title: "table", key: (one) => one.table },
    { title: "rows", key: (one) => one.rows, cell: (one) => count(one.rows), numeric: true },
    { title: "size", key: (one) => one.bytes, cell: (one) => bytes(one.bytes), numeric: true },
    { title: "oldest", key: (one) => one.since || Infinity, cell: (one) => (one.since ? formatTime(one.since, utc).slice(0, 16) : ""), numeric: true },
  ], store, 2));
}
