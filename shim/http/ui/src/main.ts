// The page: navigation, light and dark, access, and the view that the address names.

import "uplot/dist/uPlot.min.css";
import "../style.css";

import { access, setAccess } from "./access.ts";
import { type ApiError, whenRefused } from "./api.ts";
import { alertsView } from "./alerts.ts";
import { cardinalityView } from "./cardinality.ts";
import { isDark } from "./colours.ts";
import { button, fill, h, note } from "./dom.ts";
import { exploreView } from "./explore.ts";
import { linesView } from "./lines.ts";
import { forget } from "./metrics.ts";
import { QueryView } from "./query.ts";
import { formatState, parseState, type State, type View, VIEWS } from "./state.ts";
import { statusView } from "./status.ts";
import type { Shown } from "./view.ts";

const main = h("main", { id: "main", tabindex: "-1" });
const nav = h("nav", { "aria-label": "Views" });
const login = h("dialog", { class: "access", "aria-label": "Access" });
let state: State = parseState(location.search);
let shown: Shown | null = null;
/** The dialog was cancelled: views that ask again do not open it once more. */
let dismissed = false;
/** What the dialog returns when its fields are to be used. */
const USED = "used";

function save(push: boolean): void {
  const address = `${location.pathname}${formatState(state)}`;
  if (address === location.pathname + location.search) return;
  if (push) history.pushState(null, "", address);
  else history.replaceState(null, "", address);
}

/** Show a view; `changes` are parts of the state that it begins with. */
export function go(view: View, changes: Partial<State> = {}): void {
  dismissed = false;
  state = { ...state, ...changes, view };
  save(true);
  show();
  main.focus();
}

function show(): void {
  shown?.close();
  document.title = `${VIEWS.find(([name]) => name === state.view)?.[1] ?? ""} · Meterhouse`;
  fill(nav, ...VIEWS.map(([name, text]) => h("a", { href: formatState({ ...state, view: name }) || ".", "aria-current": name === state.view ? "page" : undefined, onclick: (event: MouseEvent) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go(name);
  } }, text)));
  nav.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  shown = open(state.view);
  fill(main, shown.element);
}

function open(view: View): Shown {
  switch (view) {
    case "explore":
      return exploreView(state, go);
    case "cardinality":
      return cardinalityView(go);
    case "lines":
      return linesView(state.utc);
    case "alerts":
      return alertsView(go);
    case "status":
      return statusView(state.utc);
    case "query":
      return new QueryView(state, save);
  }
}

function theme(): HTMLElement {
  const turn = (): void => {
    const next = isDark() ? "light" : "dark";
    document.documentElement.dataset["theme"] = next;
    localStorage.setItem("meterhouse.theme", next);
    dispatchEvent(new Event("meterhouse-theme"));
  };
  return button("◐", turn, { class: "icon", "aria-label": "Light or dark", title: "Light or dark" });
}

function askAccess(error?: ApiError): void {
  const given = access();
  const token = h("input", { type: "password", value: given.token, autocomplete: "off" });
  const org = h("input", { value: given.org, placeholder: "1 or 1:2", autocomplete: "off" });
  const submit = (event: Event): void => {
    event.preventDefault();
    setAccess({ token: token.value.trim(), org: org.value.trim() });
    login.close(USED);
    forget();
    show();
  };
  fill(
    login,
    h("form", { onsubmit: submit, class: "absolute" },
      h("h2", {}, "Access"),
      error && note("error", error.message),
      h("label", {}, "Token (Authorization: Bearer)", token),
      h("label", {}, "Org, or org:project (X-Scope-OrgID)", org),
      h("p", {}, "They are sent with each request to this server, and kept in this tab until it is closed (sessionStorage). An empty field sends nothing."),
      h("p", {}, h("button", { type: "submit", class: "primary" }, "Use"), button("Cancel", () => login.close("")))),
  );
  if (login.open) return;
  login.returnValue = ""; // that of Escape
  login.showModal();
}

function start(): void {
  const chosen = localStorage.getItem("meterhouse.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset["theme"] = chosen;
  document.body.append(
    h("a", { class: "skip", href: "#main" }, "Skip to the content"),
    h("header", {}, h("a", { class: "brand", href: "." }, "Meterhouse"), nav, h("div", { class: "tools" }, button("Access", () => askAccess()), theme())),
    main,
    login,
  );
  addEventListener("popstate", () => {
    state = parseState(location.search);
    show();
  });
  // While it is open, a poll that is refused must not erase what is typed.
  whenRefused((error) => dismissed || login.open || askAccess(error));
  login.addEventListener("close", () => (dismissed = login.returnValue !== USED));
  show();
}

start();
