// The view of queries: boxes, chips, and the answer as a graph, a heatmap or a table.

import { type Answer, isAbort, messageOf, post, type Result, type Series } from "./api.ts";
import { button, choice, download, fill, h, note, toggle } from "./dom.ts";
import { explainPanel } from "./explain.ts";
import { withUnit } from "./format.ts";
import { type Drawn, graph, type GraphOptions } from "./graph.ts";
import { heatmap } from "./heatmap.ts";
import { keepsUnit, metrics, suggestions } from "./metrics.ts";
import { type QueryBox, queryBox } from "./query_box.ts";
import { type Columns, columns, csv, hasHistograms, seriesOf, withGaps } from "./series.ts";
import type { Show, State } from "./state.ts";
import { resultTable } from "./table.ts";
import { autoStep, formatDuration, minStep } from "./time.ts";
import { timePicker } from "./timepicker.ts";
import { whenThemeChanges } from "./colours.ts";

/** Series that one answer may have; more do not help the eye. */
const MAX_DRAWN = 500;
const MAX_LISTED = 20_000;
const SHOWS: readonly (readonly [Show, string])[] = [["graph", "Graph"], ["heatmap", "Heatmap"], ["table", "Table"]];

interface Asked {
  query: string;
  answer: Answer<Result>;
  series: Series[];
}
interface Grid {
  startS: number;
  endS: number;
  stepS: number;
}

export class QueryView {
  readonly element = h("div", { class: "query" });
  private boxes: QueryBox[] = [];
  private readonly rows = h("div", { class: "boxes" });
  private readonly bar = h("div", { class: "bar" });
  private readonly progress = h("div", { class: "progress", role: "status" });
  private readonly output = h("div", { class: "output" });
  private running: AbortController | null = null;
  private asked: { grid: Grid; answers: Asked[] } | null = null;
  private drawn: Drawn | null = null;
  private timer = 0;
  private picker: HTMLElement;

  constructor(private readonly state: State, private readonly save: (push: boolean) => void) {
    this.picker = timePicker(state, () => this.run());
    this.element.append(this.rows, this.bar, this.progress, this.output);
    state.queries.forEach((query) => this.addBox(query));
    this.drawBar();
    whenThemeChanges(() => this.draw());
    if (state.queries.some((query) => query.trim())) this.run(false);
    else this.welcome();
  }

  focus(): void {
    this.boxes[0]?.editor.focus();
  }

  close(): void {
    clearTimeout(this.timer);
    this.running?.abort();
    this.drawn?.close();
    this.boxes.forEach((box) => box.editor.close());
  }

  private addBox(query: string): QueryBox {
    const box: QueryBox = queryBox(query, this.boxes.length, {
      run: () => this.run(),
      remove: () => this.removeBox(box),
      use: (queries, show) => this.use(queries, show),
      unitFound: () => this.running === null && this.draw(), // else the answer is drawn with it
      suggest: async (selector) => {
        const found = (await metrics()).get(selector.name);
        const range = formatDuration(this.state.rangeS);
        return (found?.types ?? []).flatMap((type) => suggestions(selector.text, type, this.grid().stepS, range));
      },
    });
    this.boxes.push(box);
    this.rows.append(box.element);
    return box;
  }

  private removeBox(box: QueryBox): void {
    if (this.boxes.length === 1) return box.editor.set("");
    this.boxes = this.boxes.filter((other) => other !== box);
    box.editor.close();
    box.element.remove();
    this.run();
  }

  /** Replace all queries. */
  private use(queries: readonly string[], show: Show): void {
    this.boxes.forEach((box) => box.editor.close());
    this.boxes = [];
    fill(this.rows);
    queries.forEach((query) => this.addBox(query));
    this.state.show = show;
    this.drawBar();
    this.run();
  }

  private drawBar(): void {
    const { state } = this;
    const redraw = (): void => {
      this.save(false);
      this.draw();
    };
    fill(
      this.bar,
      button("Run", () => this.run(), { class: "primary", title: "Enter" }),
      button("Add query", () => this.addBox("").editor.focus()),
      this.picker,
      choice("Show as", SHOWS, state.show, (show) => {
        const again = (show === "table" && !state.ranged) !== (state.show === "table" && !state.ranged);
        state.show = show;
        this.drawBar();
        if (again) this.run();
        else redraw();
      }),
      state.show === "graph" && toggle("Stacked", state.stacked, (on) => ((state.stacked = on), redraw())),
      state.show === "graph" && toggle("Log axis", state.log, (on) => ((state.log = on), redraw())),
      state.show === "table" && toggle("Over the range", state.ranged, (on) => ((state.ranged = on), this.run())),
      toggle("Explain", state.explain, (on) => ((state.explain = on), this.run()), "Plan, SQL, rows and milliseconds"),
      button("CSV", () => this.csv(), { title: "The numbers as a file" }),
      button("Copy link", (event) => this.copyLink(event.currentTarget as HTMLElement)),
    );
  }

  private grid(): Grid {
    const { rangeS, endS, stepS } = this.state;
    const step = Math.max(stepS || autoStep(rangeS, this.element.clientWidth || innerWidth), minStep(rangeS));
    const end = endS ?? Math.floor(Date.now() / 1000);
    const aligned = this.state.stepS ? end : Math.floor(end / step) * step;
    return { startS: aligned - Math.floor(rangeS / step) * step, endS: aligned, stepS: step };
  }

  private get instant(): boolean {
    return this.state.show === "table" && !this.state.ranged;
  }

  /** Ask all queries; an earlier run that is not done is given up. */
  run(push = true): void {
    clearTimeout(this.timer);
    this.state.queries = this.boxes.map((box) => box.editor.text());
    this.save(push);
    this.running?.abort();
    const controller = (this.running = new AbortController());
    const grid = this.grid();
    const began = performance.now();
    const time = h("span");
    const cancel = button("Cancel", () => controller.abort()); // one for all ticks: a click takes longer than some
    const ticking = setInterval(() => {
      time.textContent = `Running for ${((performance.now() - began) / 1000).toFixed(1)} s `;
      if (time.parentNode !== this.progress) fill(this.progress, time, cancel);
    }, 300);
    const asking = this.boxes.map(async (box): Promise<Asked | null> => {
      const query = box.editor.text().trim();
      box.said();
      if (!query) return null;
      try {
        const answer = await this.ask(query, grid, controller.signal);
        const series = seriesOf(answer.data);
        box.said({ series: series.length, ms: answer.ms, notes: [...answer.warnings, ...answer.infos], limit: this.instant ? MAX_LISTED : MAX_DRAWN });
        return { query, answer, series };
      } catch (error) {
        if (!controller.signal.aborted) box.failed(messageOf(error));
        else if (!isAbort(error)) box.failed(messageOf(error));
        return null;
      }
    });
    void Promise.all(asking).then((found) => {
      clearInterval(ticking);
      if (this.running !== controller) return;
      this.running = null;
      fill(this.progress, controller.signal.aborted && "Cancelled.");
      if (controller.signal.aborted) return;
      this.asked = { grid, answers: found.filter((one) => one !== null) };
      this.draw();
      if (this.state.refreshS) this.timer = window.setTimeout(() => this.run(false), this.state.refreshS * 1000);
    });
  }

  private ask(query: string, grid: Grid, signal: AbortSignal): Promise<Answer<Result>> {
    const { explain, endS } = this.state;
    return this.instant
      ? post("query", { query, time: endS ?? undefined, limit: MAX_LISTED, explain }, signal)
      : post("query_range", { query, start: grid.startS, end: grid.endS, step: grid.stepS, limit: MAX_DRAWN, explain }, signal);
  }

  private draw(): void {
    if (!this.asked) return;
    const { answers } = this.asked;
    this.drawn?.close();
    this.drawn = null;
    const parts: (Node | false)[] = [];
    if (answers.some(({ series }) => series.length)) parts.push(this.picture());
    else if (answers.length) parts.push(note("info", "No data: no series matches in this range of time."));
    else if (!this.boxes.some((box) => box.editor.text().trim())) return this.welcome();
    parts.push(...answers.map(({ query, answer }) => this.state.explain && explainPanel(query, answer)));
    fill(this.output, ...parts);
  }

  private picture(): HTMLElement {
    const { answers, grid } = this.asked as { grid: Grid; answers: Asked[] };
    const { show } = this.state;
    const all = answers.flatMap(({ series }) => series);
    const unit = (value: number | null | undefined): string => withUnit(value, this.unit());
    if (this.instant || show === "table") return resultTable(answers, unit);
    const options: GraphOptions = {
      ...this.state, ...grid, unit,
      endS: grid.endS,
      zoom: (startS, endS) => this.zoom(startS, endS),
    };
    if (hasHistograms(all) && (show === "heatmap" || all.every((one) => one.histograms))) {
      this.drawn = heatmap(all.filter((one) => one.histograms), grid.stepS, options);
      return this.drawn.element;
    }
    if (show === "heatmap") {
      return note("info", "A heatmap needs a query whose value is a distribution, as sum(rate(x[5m])) of a distribution x.");
    }
    this.drawn = graph(this.columns(), options);
    return this.drawn.element;
  }

  private columns(): Columns {
    const { answers, grid } = this.asked ?? { answers: [], grid: this.grid() };
    return withGaps(columns(answers), this.instant ? 0 : grid.stepS);
  }

  /** The unit that all values have, or "". */
  private unit(): string {
    const units = this.boxes.map((box) => (keepsUnit(box.editor.text()) || this.state.show === "heatmap" ? box.unit : ""));
    return units.every((unit) => unit === units[0]) ? (units[0] ?? "") : "";
  }

  private zoom(startS: number, endS: number): void {
    this.state.endS = Math.ceil(endS / 10) * 10;
    this.state.rangeS = Math.max(60, this.state.endS - Math.floor(startS / 10) * 10);
    this.picker = timePicker(this.state, () => this.run());
    this.drawBar();
    this.run();
  }

  private csv(): void {
    if (!this.asked?.answers.length) return;
    download("meterhouse.csv", "text/csv", csv(this.columns()));
  }

  private copyLink(target: HTMLElement): void {
    const fixed = { endS: this.state.endS };
    this.state.endS = this.asked?.grid.endS ?? this.state.endS; // a link shows what is seen now
    this.save(false);
    const link = location.href;
    this.state.endS = fixed.endS;
    this.save(false);
    const done = (text: string): void => {
      target.textContent = text;
      setTimeout(() => (target.textContent = "Copy link"), 2000);
    };
    if (!navigator.clipboard) prompt("The link:", link);
    else navigator.clipboard.writeText(link).then(() => done("Copied"), () => prompt("The link:", link));
  }

  /** Something to click where nothing is asked yet. */
  private welcome(): void {
    const list = h("ul", { class: "examples" });
    fill(this.output, h("h2", {}, "What do you want to see?"), list);
    metrics().then((known) => {
      const offers = [...known.values()].filter(({ name }) => name !== "up").slice(0, 8).flatMap((metric) => metric.types.slice(0, 1).map((type) => {
        const first = suggestions(metric.name, type, 20, "1h")[0];
        return first && h("li", {}, button(`${metric.name}: ${first.text}`, () => this.use(first.queries, first.show), { class: "link" }), ` ${first.title}`);
      }));
      fill(list, ...offers);
      if (!offers.length) fill(this.output, note("info", "No metric is stored yet. Send a line, or run `meterhouse demo` in a terminal; it shows here ten seconds later."));
    }, (error) => fill(list, note("error", messageOf(error))));
  }
}
