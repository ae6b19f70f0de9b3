/** What a node does: label, colour and sign, so that nothing hangs on colour alone. */

import type { Colour } from "../theme";
import type { NodeRow } from "../types";

export interface Look {
  label: string;
  colour: Colour;
  sign: string; // an SVG path in a 24 x 24 box, drawn as a stroke
}

const LOOKS: Record<string, Look> = {
  idle: { label: "idle", colour: "grey", sign: "M8 12h8" },
  preparing: { label: "preparing", colour: "blue", sign: "M12 7v5l3 2M12 4a8 8 0 1 0 0 16a8 8 0 0 0 0-16" },
  receiving: { label: "receiving", colour: "blue", sign: "M12 5v13M6 12l6 6l6-6" },
  training: { label: "training", colour: "teal", sign: "M4 18l5-7l4 3l7-9" },
  sending: { label: "sending", colour: "violet", sign: "M12 19V6M6 12l6-6l6 6" },
  coordinating: { label: "coordinating", colour: "yellow", sign: "M5 17h14M5 17L4 8l5 4l3-6l3 6l5-4l-1 9" },
  leaving: { label: "leaving", colour: "grey", sign: "M5 12h13M13 7l5 5l-5 5" },
  cloned: { label: "cloned", colour: "red", sign: "M12 5v9M12 18v1" },
  blocked: { label: "disk full", colour: "red", sign: "M12 5v9M12 18v1" },
  unknown: { label: "never heard", colour: "grey", sign: "M9 9a3 3 0 1 1 3 4v1M12 18v.5" },
  starting: { label: "starting", colour: "blue", sign: "M12 7v5l3 2M12 4a8 8 0 1 0 0 16a8 8 0 0 0 0-16" },
  away: { label: "radio off", colour: "grey", sign: "M5 5l14 14M7 13a7 7 0 0 1 3-2M12 18v.5M14 11a7 7 0 0 1 3 2" },
  paused: { label: "paused", colour: "orange", sign: "M9 6v12M15 6v12" },
  gone: { label: "gone", colour: "red", sign: "M7 7l10 10M17 7L7 17" },
};

export function look(state: string): Look {
  return LOOKS[state] ?? { label: state, colour: "grey", sign: "" };
}

export const LEGEND = ["idle", "receiving", "training", "sending", "coordinating", "away", "gone"] as const;

/** States in which the node is known not to be there: drawn flat. */
export function absent(node: NodeRow): boolean {
  return node.state === "away" || node.state === "gone" || node.state === "unknown";
}

/** How much of a node is still to be seen, by the age of its last heartbeat: 1 down to 0.35 after two minutes. */
export function freshness(node: NodeRow, now_t: number): number {
  if (node.state === "unknown") return 0.45;
  if (node.me) return 1;
  if (node.heard_t === null) return 0.45;
  const age_s = now_t - node.heard_t;
  for (const [limit_s, opacity] of [[12, 1], [25, 0.85], [45, 0.7], [80, 0.55], [120, 0.45]] as const) {
    if (age_s < limit_s) return opacity;
  }
  return 0.35;
}

export function linkTone(up: boolean, quality: number | null): Colour {
  if (!up) return "red";
  if (quality === null) return "grey";
  if (quality > 0.6) return "green";
  return quality > 0.3 ? "yellow" : "orange";
}

export function linkLabel(up: boolean, quality: number | null): string {
  if (!up) return "cut";
  if (quality === null) return "up";
  if (quality > 0.6) return "good";
  return quality > 0.3 ? "fair" : "poor";
}
