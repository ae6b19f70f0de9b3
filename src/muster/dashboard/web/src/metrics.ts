/** A job's metrics: which two are drawn, and their values for people. */

import { percent } from "./format";
import type { JobRow } from "./types";

type Figures = Readonly<Record<string, number>>;

/** Accuracies are given in percent. */
export function isShare(name: string): boolean {
  return name.endsWith("accuracy");
}

/** `93.4 %` of an accuracy; four digits of anything else. */
export function metric(name: string | null, figures: Figures | undefined): string {
  return name === null ? "–" : value(name, figures?.[name]);
}

export function value(name: string, given: number | null | undefined): string {
  if (given === null || given === undefined || !Number.isFinite(given)) return "–";
  return isShare(name) ? percent(given) : digits(given);
}

/** Four digits, as short as may be: 0.1234, 12.3, 4.2e-7. */
export function digits(given: number): string {
  const text = given.toPrecision(4);
  return text.includes("e") ? text.replace(/\.?0+e/, "e") : text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

/** The metric that a job is judged by, and a second one beside it: the loss, or what comes next. */
export function pair(job: JobRow | undefined): [string | null, string | null] {
  const names = Object.keys(job?.metrics ?? {});
  const first = names[0] ?? null;
  const others = names.filter((name) => name !== first);
  return [first, others.includes("loss") ? "loss" : (others[0] ?? null)];
}

/** `accuracy 93.4 %, loss 0.21`; what was not measured is left out. */
export function all(figures: Figures): string {
  return Object.entries(figures).map(([name, given]) => `${name} ${value(name, given)}`).join(", ");
}
