/** Light and dark: follows the system until the reader chooses. Canvases read their colours here. */

const KEY = "muster.theme";
const NAMES = [
  "ground", "panel", "raised", "line", "soft", "text", "muted", "track", "teal", "blue", "violet", "yellow",
  "orange", "green", "red", "grey", "packet",
] as const;
export type Colour = (typeof NAMES)[number];
export type Colours = Record<Colour, string>;

const system = window.matchMedia("(prefers-color-scheme: dark)");
const listeners: (() => void)[] = [];
let colours: Colours | null = null;

function chosen(): "light" | "dark" | null {
  const kept = localStorage.getItem(KEY);
  return kept === "light" || kept === "dark" ? kept : null;
}

export function dark(): boolean {
  return (chosen() ?? (system.matches ? "dark" : "light")) === "dark";
}

function apply(): void {
  document.documentElement.dataset.theme = dark() ? "dark" : "light";
  colours = null;
  for (const listener of listeners) listener();
}

export function startTheme(): void {
  system.addEventListener("change", apply);
  apply();
}

export function flipTheme(): void {
  localStorage.setItem(KEY, dark() ? "light" : "dark");
  apply();
}

export function onTheme(listener: () => void): void {
  listeners.push(listener);
}

export function theme(): Colours {
  if (colours === null) {
    const style = getComputedStyle(document.documentElement);
    colours = Object.fromEntries(NAMES.map((name) => [name, long(style.getPropertyValue(`--${name}`))])) as Colours;
  }
  return colours;
}

/** `#fff`, as a minifier writes it, as `#ffffff`. */
function long(text: string): string {
  const colour = text.trim();
  return colour.length === 4 ? `#${[...colour.slice(1)].map((digit) => digit + digit).join("")}` : colour;
}

/** `colour` (#rrggbb) with an opacity, for canvases. */
export function clear(colour: string, opacity: number): string {
  const at = (k: number) => parseInt(colour.slice(k, k + 2), 16);
  return `rgb(${at(1)} ${at(3)} ${at(5)} / ${opacity})`;
}

/** `part` of `colour`, the rest of `other`; all #rrggbb. */
export function mix(colour: string, other: string, part: number): string {
  const at = (text: string, k: number) => parseInt(text.slice(k, k + 2), 16);
  const hex = (k: number) => Math.round(at(colour, k) * part + at(other, k) * (1 - part)).toString(16).padStart(2, "0");
  return `#${hex(1)}${hex(3)}${hex(5)}`;
}

/** Branches of a history: the first is the main line. */
const BRANCHES: readonly Colour[] = ["teal", "violet", "yellow", "blue", "orange", "red", "green"];
export function branchColour(branch: number): string {
  return theme()[BRANCHES[branch % BRANCHES.length]!];
}
