// Alerts and rules, as Prometheus' API gives them.

import { get, type Labels } from "./api.ts";
import { button, h, note } from "./dom.ts";
import { seriesName, short } from "./format.ts";
import { table } from "./table.ts";
import { ago, formatDuration } from "./time.ts";
import { type Go, part, repeat, type Shown } from "./view.ts";

interface Alert {
  labels: Labels;
  annotations?: Labels;
  state: string;
  activeAt?: string;
  value?: string;
}
interface Rule {
  name: string;
  query: string;
  type: "alerting" | "recording";
  health?: string;
  lastError?: string;
  evaluationTime?: number;
  lastEvaluation?: string;
  duration?: number;
  state?: string;
  labels?: Labels;
  alerts?: Alert[];
}
interface Group {
  name: string;
  file: string;
  interval: number;
  rules: Rule[];
}

export function alertsView(go: Go): Shown {
  const shown = part(async (signal) => {
    const [alerts, rules] = await Promise.all([get<{ alerts: Alert[] }>("alerts", {}, signal), get<{ groups: Group[] }>("rules", {}, signal)]);
    return [
      h("h2", {}, "Alerts"),
      alerts.data.alerts.length ? alertTable(alerts.data.alerts) : note("info", "No alert is pending or firing."),
      h("h2", {}, "Rules"),
      ...(rules.data.groups.length ? rules.data.groups.map((group) => groupPart(group, go)) : [note("info", "No rule is loaded. docs/rules.md says how to load rule files.")]),
    ];
  });
  const stop = repeat(10, shown.element, () => shown.load());
  return { element: h("div", {}, h("h1", {}, "Alerts and rules"), shown.element), close: () => (stop(), shown.close()) };
}

const stateMark = (state: string): HTMLElement => h("span", { class: `state ${state}` }, state);
const since = (time: string | undefined): number => (Date.now() - Date.parse(time ?? "")) / 1000;

function alertTable(alerts: readonly Alert[]): HTMLElement {
  return table("Alerts", [
    { title: "state", key: (one) => one.state, cell: (one) => stateMark(one.state) },
    { title: "alert", key: (one) => one.labels["alertname"] ?? "" },
    { title: "labels", key: (one) => seriesName(without(one.labels), "") },
    { title: "summary", key: (one) => one.annotations?.["summary"] ?? one.annotations?.["description"] ?? "" },
    { title: "value", key: (one) => Number(one.value), cell: (one) => short(Number(one.value)), numeric: true },
    { title: "since", key: (one) => since(one.activeAt), cell: (one) => ago(since(one.activeAt)), numeric: true },
  ], alerts);
}

function without({ alertname: _, ...others }: Labels): Labels {
  return others;
}

/** Why a rule needs a look comes first: its error, then whether it fires. */
const ruleState = (rule: Rule): string => (rule.health === "err" ? "err" : (rule.state ?? rule.health ?? ""));

function groupPart(group: Group, go: Go): HTMLElement {
  return h("section", {}, h("h3", {}, group.name, " ", h("span", { class: "fact" }, `${group.file}, every ${formatDuration(group.interval)}`)), table(`Rules of ${group.name}`, [
    { title: "rule", key: (rule) => rule.name },
    { title: "state", key: ruleState, cell: (rule) => stateMark(ruleState(rule)) },
    { title: "query", key: (rule) => rule.query, cell: (rule) => button(rule.query, () => go("query", { queries: [rule.query], show: "graph" }), { class: "link code" }) },
    { title: "for", key: (rule) => rule.duration ?? 0, cell: (rule) => (rule.duration ? formatDuration(rule.duration) : ""), numeric: true },
    { title: "took", key: (rule) => rule.evaluationTime ?? 0, cell: (rule) => `${short((rule.evaluationTime ?? 0) * 1000)} ms`, numeric: true },
    { title: "error", key: (rule) => rule.lastError ?? "" },
  ], group.rules));
}
