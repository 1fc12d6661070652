// What the address says: the view, its queries and its time. A link shows the same page to everyone.

export type View = "query" | "explore" | "cardinality" | "lines" | "alerts" | "status";
export const VIEWS: readonly (readonly [View, string])[] = [
  ["query", "Query"],
  ["explore", "Explore"],
  ["cardinality", "Cardinality"],
  ["lines", "Lines"],
  ["alerts", "Alerts & rules"],
  ["status", "Status"],
];
export type Show = "graph" | "heatmap" | "table";

export interface State {
  view: View;
  queries: string[];
  show: Show;
  /** Whether the table shows the range, not its last time. */
  ranged: boolean;
  /** Length of the range in seconds. */
  rangeS: number;
  /** Its end in Unix seconds; null for now. */
  endS: number | null;
  /** Seconds; 0 chooses. */
  stepS: number;
  stacked: boolean;
  log: boolean;
  explain: boolean;
  utc: boolean;
  refreshS: number;
  /** The metric that is explored. */
  metric: string;
}

export const INITIAL: State = {
  view: "query",
  queries: [""],
  show: "graph",
  ranged: false,
  rangeS: 3600,
  endS: null,
  stepS: 0,
  stacked: false,
  log: false,
  explain: false,
  utc: false,
  refreshS: 0,
  metric: "",
};
const MAX_QUERIES = 12;

const positive = (text: string | null, otherwise: number): number => {
  const value = Number(text ?? "");
  return Number.isFinite(value) && value > 0 ? value : otherwise;
};

const among = <T extends string>(text: string | null, options: readonly T[], otherwise: T): T =>
  options.includes(text as T) ? (text as T) : otherwise;

/** Read the part of an address after `?`; whatever is wrong takes its default. */
export function parseState(search: string): State {
  const given = new URLSearchParams(search);
  const queries = given.getAll("q").slice(0, MAX_QUERIES);
  return {
    view: among(given.get("view"), VIEWS.map(([name]) => name), INITIAL.view),
    queries: queries.length ? queries : [""],
    show: among(given.get("show"), ["graph", "heatmap", "table"], INITIAL.show),
    ranged: given.get("ranged") === "1",
    rangeS: positive(given.get("range"), INITIAL.rangeS),
    endS: positive(given.get("end"), 0) || null,
    stepS: positive(given.get("step"), 0),
    stacked: given.get("stacked") === "1",
    log: given.get("log") === "1",
    explain: given.get("explain") === "1",
    utc: given.get("utc") === "1",
    refreshS: positive(given.get("refresh"), 0),
    metric: given.get("metric") ?? "",
  };
}

/** The shortest address for a state; "" for the initial one. */
export function formatState(state: State): string {
  const pairs = new URLSearchParams();
  if (state.view !== INITIAL.view) pairs.set("view", state.view);
  for (const query of state.queries) if (query.trim() || state.queries.length > 1) pairs.append("q", query);
  if (state.show !== INITIAL.show) pairs.set("show", state.show);
  if (state.rangeS !== INITIAL.rangeS) pairs.set("range", String(state.rangeS));
  if (state.endS !== null) pairs.set("end", String(state.endS));
  if (state.stepS) pairs.set("step", String(state.stepS));
  if (state.refreshS) pairs.set("refresh", String(state.refreshS));
  for (const name of ["ranged", "stacked", "log", "explain", "utc"] as const) if (state[name]) pairs.set(name, "1");
  if (state.metric) pairs.set("metric", state.metric);
  const text = pairs.toString();
  return text ? `?${text}` : "";
}
