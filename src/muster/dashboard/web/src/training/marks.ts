/** Marks on the training curves: what happened to the network, and which model went into use, at the job's age. */

import type { Colour } from "../theme";
import type { MarkRow } from "../types";

const LOOKS: Record<string, { sign: string; colour: Colour }> = {
  cut: { sign: "✂", colour: "red" },
  partition: { sign: "✂", colour: "red" },
  heal: { sign: "∞", colour: "green" },
  kill: { sign: "×", colour: "red" },
  pause: { sign: "‖", colour: "orange" },
  resume: { sign: "▸", colour: "green" },
  restart: { sign: "↻", colour: "green" },
  leave: { sign: "↓", colour: "grey" },
  join: { sign: "↑", colour: "blue" },
  handover: { sign: "⇄", colour: "yellow" },
  merge: { sign: "Y", colour: "violet" },
  use: { sign: "◆", colour: "teal" },
  unuse: { sign: "◇", colour: "orange" },
};

export function markLook(kind: string): { sign: string; colour: Colour } {
  return LOOKS[kind] ?? { sign: "·", colour: "grey" };
}

/** Those that belong on the curves; changed link parameters are too many. */
export function onCurve(mark: MarkRow, job: string): boolean {
  return mark.job === job && mark.age_s !== null && mark.kind in LOOKS;
}
