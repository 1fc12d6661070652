// Tables that sort, and that show more rows when asked.

import type { Series } from "./api.ts";
import { button, fill, h, type Child } from "./dom.ts";
import { clip, short } from "./format.ts";
import { columns, number, summary } from "./series.ts";

export interface Column<T> {
  title: string;
  /** What is sorted by. */
  key: (row: T) => string | number;
  cell?: (row: T) => Child;
  numeric?: boolean;
}

const ROWS = 100;

/** A table of rows; `sort` is the index of the first column to sort by, descending if numeric. */
export function table<T>(caption: string, cols: readonly Column<T>[], rows: readonly T[], sort = 0): HTMLElement {
  let [by, down, shown] = [sort, Boolean(cols[sort]?.numeric), ROWS];
  const body = h("tbody");
  const more = h("p", { class: "more" });
  const heads = cols.map((column, i) => {
    const sorter = button(column.title, () => {
      down = i === by ? !down : Boolean(column.numeric);
      by = i;
      draw();
    });
    return h("th", { scope: "col", class: column.numeric ? "number" : undefined }, sorter);
  });
  const draw = (): void => {
    const key = cols[by]?.key ?? (() => 0);
    const sorted = rows.toSorted((a, b) => compare(key(a), key(b)) * (down ? -1 : 1));
    heads.forEach((head, i) => head.setAttribute("aria-sort", i !== by ? "none" : down ? "descending" : "ascending"));
    fill(body, ...sorted.slice(0, shown).map((row) => h("tr", {}, ...cols.map((column) =>
      h("td", { class: column.numeric ? "number" : undefined }, column.cell ? column.cell(row) : column.key(row))))));
    fill(more, rows.length > shown && button(`Show ${Math.min(10 * ROWS, rows.length - shown)} more of ${rows.length}`, () => ((shown += 10 * ROWS), draw()), { class: "link" }));
  };
  draw();
  const scroller = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, h("table", {}, h("caption", { class: "hidden" }, caption), h("thead", {}, h("tr", {}, ...heads)), body));
  return h("div", {}, scroller, more);
}

function compare(a: string | number, b: string | number): number {
  if (typeof a === "number" && typeof b === "number") {
    if (Number.isNaN(a) || Number.isNaN(b)) return Number(Number.isNaN(b)) - Number(Number.isNaN(a));
    return a - b;
  }
  return String(a).localeCompare(String(b), "en", { numeric: true });
}

type Unit = (value: number | null | undefined) => string;

/** Answers as a table: of one time the values, of a range last, lowest, mean and highest. */
export function resultTable(answers: readonly { query: string; series: readonly Series[] }[], unit: Unit): HTMLElement {
  const rows = answers.flatMap(({ query, series }) => series.map((one) => ({ one, query, ...figures(one) })));
  const names = [...new Set(rows.flatMap(({ one }) => Object.keys(one.metric)))].filter((name) => name !== "__name__").sort();
  const ranged = rows.some(({ one }) => one.values ?? one.histograms);
  const named = rows.some(({ one }) => one.metric["__name__"]) || answers.length > 1;
  type Row = (typeof rows)[number];
  const figure = (title: string, of: (row: Row) => number): Column<Row> => ({ title, key: of, cell: (row) => unit(of(row)), numeric: true });
  const cols: Column<Row>[] = [
    ...(named ? [{ title: "metric or query", key: (row: Row) => row.one.metric["__name__"] ?? row.query, cell: (row: Row) => clip(row.one.metric["__name__"] ?? row.query) }] : []),
    ...names.map((name): Column<Row> => ({ title: name, key: (row) => row.one.metric[name] ?? "", cell: (row) => clip(row.one.metric[name] ?? "") })),
    ...(ranged
      ? [figure("last", (row) => row.last), figure("min", (row) => row.min), figure("mean", (row) => row.mean), figure("max", (row) => row.max)]
      : [{ title: "value", key: (row: Row) => row.last, cell: (row: Row) => valueCell(row.one, row.last, unit), numeric: true }]),
  ];
  return table("Values of the query", cols, rows, cols.length - (ranged ? 4 : 1));
}

function figures(one: Series): { last: number; min: number; mean: number; max: number } {
  const values = (columns([{ query: "", series: [one] }]).lines[0]?.values ?? []).filter((value) => value !== null);
  if (!values.length) return { last: number(one.value?.[1] ?? "NaN"), min: NaN, mean: NaN, max: NaN };
  const sum = values.reduce((total, value) => total + value, 0);
  return { last: values.at(-1) ?? NaN, min: Math.min(...values), mean: sum / values.length, max: Math.max(...values) };
}

function valueCell(one: Series, value: number, unit: Unit): Child {
  if (!one.histogram) return unit(value);
  const { count, sum, mean } = summary(one.histogram[1]);
  return `count ${short(count)}, sum ${short(sum)}, mean ${unit(mean)}`;
}
