// Colours of lines: one set for light and one for dark, each told apart by people with colour-blindness.

const LIGHT = ["#0072b2", "#d55e00", "#009e73", "#b0508f", "#8a6d00", "#3b6fb6", "#7a4fbf", "#a33b3b", "#2f7d7d", "#5f5f5f"];
const DARK = ["#56b4e9", "#f0914a", "#35c79a", "#e08fc4", "#e6cf3f", "#8fb4ff", "#b79cf0", "#f08080", "#6fd0d0", "#b5b5b5"];

const query = matchMedia("(prefers-color-scheme: dark)");

export const isDark = (): boolean => {
  const chosen = document.documentElement.dataset["theme"];
  return chosen ? chosen === "dark" : query.matches;
};

export const colour = (i: number): string => {
  const set = isDark() ? DARK : LIGHT;
  return set[i % set.length] as string;
};

/** Call when light turns to dark or back. */
export function whenThemeChanges(call: () => void): void {
  query.addEventListener("change", call);
  addEventListener("meterhouse-theme", call);
}

/** From pale to strong, for counts from 0 to 1. */
export function heat(share: number): string {
  const t = Math.min(1, Math.max(0, share)) ** 0.6;
  return isDark()
    ? `hsl(${190 - 145 * t} ${45 + 45 * t}% ${16 + 54 * t}%)`
    : `hsl(${190 - 170 * t} ${45 + 40 * t}% ${92 - 55 * t}%)`;
}

/** A colour of the style sheet, as the canvas understands it. */
export function css(name: string): string {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}
