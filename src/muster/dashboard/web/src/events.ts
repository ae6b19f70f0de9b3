/** The event line: what happened, newest first, with times of day. */

import { byId, el, keyed, setText, setVar, show } from "./dom";
import { clock } from "./format";
import type { Store } from "./store";
import type { LogLine } from "./types";

const TONES: Record<string, string> = {
  job: "blue", offer: "grey", plan: "blue", training: "teal", update: "violet", commit: "teal", merge: "violet",
  wait: "yellow", peer: "grey", link: "yellow", fault: "red", error: "red", end: "green", page: "grey", field: "orange",
};
const LINES_SHOWN = 160;
const ROUTINE = new Set(["training", "update", "offer", "plan"]);

export class Events {
  private readonly list = byId("event-lines");
  private brief = false;

  constructor(
    private readonly store: Store,
    redraw: () => void,
  ) {
    const button = byId("events-brief");
    button.addEventListener("click", () => {
      this.brief = !this.brief;
      button.setAttribute("aria-pressed", String(this.brief));
      redraw();
    });
  }

  draw(): void {
    const epoch_s = this.store.header?.epoch_s ?? 0;
    const all = this.brief ? this.store.log.filter((line) => !ROUTINE.has(line.kind)) : this.store.log;
    const lines = all.slice(-LINES_SHOWN).reverse();
    keyed(this.list, lines, (line) => String(line.n), (line) => make(line, epoch_s), () => undefined);
    show(byId("events-empty"), lines.length === 0);
  }
}

function make(line: LogLine, epoch_s: number): HTMLElement {
  const dot = el("span", { class: "dot", "aria-hidden": "true" });
  setVar(dot, "--tone", `var(--${TONES[line.kind] ?? "grey"})`);
  const text = el("span", { class: "what" });
  setText(text, line.text);
  return el("li", { "data-kind": line.kind }, el("time", { class: "mono" }, clock(epoch_s + line.t)), dot, text);
}
