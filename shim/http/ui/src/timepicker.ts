// The range of time: its length, its end, the step, and how often it is asked again.

import { button, fill, h, note, toggle } from "./dom.ts";
import type { State } from "./state.ts";
import { BUCKET_S, formatDuration, formatTime, parseDuration, parseTime } from "./time.ts";

const QUICK = ["5m", "15m", "1h", "3h", "6h", "12h", "1d", "7d", "30d", "90d"];
const REFRESH = [0, 10, 30, 60, 300];

/** The control; `change` is called after each change of the state. */
export function timePicker(state: State, change: () => void): HTMLElement {
  const element = h("div", { class: "time" });
  const changed = (): void => {
    draw();
    change();
  };
  const draw = (): void => {
    fill(
      element,
      button("◀", () => (move(state, -0.5), changed()), { "aria-label": "Half a range earlier", class: "icon" }),
      ranges(state, changed),
      button("▶", () => (move(state, 0.5), changed()), { "aria-label": "Half a range later", class: "icon", disabled: state.endS === null }),
      button("−", () => (zoomOut(state), changed()), { "aria-label": "Twice the range", title: "Twice the range", class: "icon" }),
      state.endS !== null && button("Now", () => ((state.endS = null), changed())),
      refresh(state, changed),
    );
  };
  draw();
  return element;
}

function move(state: State, share: number): void {
  const nowS = Math.floor(Date.now() / 1000);
  const endS = (state.endS ?? nowS) + Math.round(state.rangeS * share);
  state.endS = endS >= nowS ? null : endS;
}

function zoomOut(state: State): void {
  const endS = state.endS === null ? null : state.endS + Math.round(state.rangeS / 2);
  state.endS = endS !== null && endS < Date.now() / 1000 ? endS : null;
  state.rangeS *= 2;
}

const label = (state: State): string =>
  state.endS === null
    ? `Last ${formatDuration(state.rangeS)}`
    : `${formatTime(state.endS - state.rangeS, state.utc).slice(0, 16)} to ${formatTime(state.endS, state.utc).slice(0, 16)}`;

function ranges(state: State, changed: () => void): HTMLElement {
  const details = h("details", { class: "menu" });
  const done = (): void => {
    details.open = false;
    changed();
  };
  const quick = QUICK.map((text) => [text, parseDuration(text)] as const).map(([text, rangeS]) =>
    button(text, () => (Object.assign(state, { rangeS, endS: null }), done()), { "aria-pressed": String(state.endS === null && state.rangeS === rangeS) }),
  );
  details.append(
    h("summary", { "aria-label": `Time range: ${label(state)}` }, label(state)),
    h("div", { class: "panel" }, h("div", { class: "quick", role: "group", "aria-label": "Last" }, ...quick), absolute(state, done), h("p", {}, toggle("UTC", state.utc, (on) => ((state.utc = on), done()), "Show times in UTC, or in this computer's zone"))),
  );
  details.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      details.open = false;
      details.querySelector("summary")?.focus();
    }
  });
  return details;
}

function absolute(state: State, done: () => void): HTMLElement {
  const nowS = Math.floor(Date.now() / 1000);
  const endS = state.endS ?? nowS;
  const field = (text: string, value: string, hint: string): [HTMLElement, HTMLInputElement] => {
    const input = h("input", { value, placeholder: hint, spellcheck: "false" });
    return [h("label", {}, text, input), input];
  };
  const [fromLabel, from] = field("From", formatTime(endS - state.rangeS, state.utc), "2026-11-28 10:00 or now-1h");
  const [toLabel, to] = field("To", state.endS === null ? "now" : formatTime(endS, state.utc), "now");
  const [stepLabel, step] = field("Step", state.stepS ? formatDuration(state.stepS) : "", "by the width");
  const wrong = h("div");
  const apply = (event: Event): void => {
    event.preventDefault();
    const [start, end] = [parseTime(from.value, state.utc), parseTime(to.value, state.utc)];
    const stepS = step.value.trim() ? parseDuration(step.value) : 0;
    if (!(end > start)) return fill(wrong, note("error", "From and To: expected two times, the earlier one first: 2026-11-28 10:00, now-1h or Unix seconds."));
    if (Number.isNaN(stepS) || (step.value.trim() && stepS < 1)) return fill(wrong, note("error", "Step: expected a duration from 1s, as 30s or 5m."));
    state.rangeS = Math.max(BUCKET_S, Math.round(end - start));
    state.endS = to.value.trim() === "now" ? null : Math.round(end);
    state.stepS = stepS;
    done();
  };
  return h("form", { onsubmit: apply, class: "absolute" }, fromLabel, toLabel, stepLabel, wrong, h("button", { type: "submit", class: "primary" }, "Apply"));
}

function refresh(state: State, changed: () => void): HTMLElement {
  const select = h("select", { "aria-label": "Ask again", onchange: () => ((state.refreshS = Number(select.value)), changed()) });
  for (const seconds of REFRESH) {
    select.append(h("option", { value: seconds, selected: seconds === state.refreshS }, seconds ? `every ${formatDuration(seconds)}` : "no refresh"));
  }
  return select;
}
