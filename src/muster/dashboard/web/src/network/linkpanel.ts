/** One link: its figures, and in an emulation sliders for each direction, presets, cut and heal. */

import { makeFault, setLink, type LinkChange } from "../api";
import { el, keyed, setText, setVar, show, toggle } from "../dom";
import { bytes, percent, rate, span } from "../format";
import { attempt } from "../say";
import type { Store } from "../store";
import type { LinkRow, Preset, LinkParameters, LinkDirection } from "../types";
import { linkTone, linkLabel } from "./states";

type Side = "there" | "back";

interface Dial {
  field: keyof LinkParameters;
  name: string;
  steps: number;
  value: (step: number) => number; // slider position to unit
  step: (value: number) => number;
  text: (value: number) => string;
}

const LOG_LOW = Math.log(1); // kbit/s
const LOG_HIGH = Math.log(100_000);
const round = (value: number, digits: number) => Number(value.toPrecision(digits));

const DIALS: readonly Dial[] = [
  {
    field: "rate_kbit_s", name: "Rate", steps: 200,
    value: (step) => round(Math.exp(LOG_LOW + ((LOG_HIGH - LOG_LOW) * step) / 200), 2),
    step: (value) => (200 * (Math.log(Math.max(1, value)) - LOG_LOW)) / (LOG_HIGH - LOG_LOW),
    text: (value) => rate(value * 1000),
  },
  squared("delay_ms", "Delay", 2000, (value) => `${Math.round(value)} ms`, 0),
  squared("jitter_ms", "Jitter", 1000, (value) => `${Math.round(value)} ms`, 0),
  squared("loss", "Loss", 0.5, (value) => percent(value), 3),
];

function squared(field: keyof LinkParameters, name: string, top: number, text: (v: number) => string, digits: number): Dial {
  return {
    field, name, steps: 100, text,
    value: (step) => Number((top * (step / 100) ** 2).toFixed(digits)),
    step: (value) => 100 * Math.sqrt(Math.min(1, value / top)),
  };
}

interface Slider {
  dial: Dial;
  side: Side;
  input: HTMLInputElement;
  output: HTMLElement;
  touched_ms: number;
}

const HOLD_MS = 1600; // after a touch the slider stays where it was put until the emulator has answered

export class LinkPanel {
  readonly element = el("section", { class: "card link-card", "aria-label": "Link" });
  private link = "";
  private readonly sliders: Slider[] = [];
  private readonly title = el("h3");
  private readonly state = el("p", { class: "state" });
  private readonly together = el("input", { type: "checkbox", checked: true, id: "both-directions" });
  private readonly presets = el("div", { class: "presets" });
  private readonly drop = el("p", { class: "muted small" });
  private readonly undrop = el("button", { class: "bare", type: "button" }, "stop dropping");
  private readonly cut = el("button", { class: "danger wide", type: "button", "data-do": "cut" }, "Cut link");
  private readonly heal = el("button", { class: "good wide", type: "button", "data-do": "heal" }, "Heal link");
  private readonly counts = el("dl", { class: "facts" });
  private readonly dials = el("div", { class: "dials" });
  private readonly controls: HTMLElement;
  private pending: Partial<Record<Side, Partial<LinkParameters>>> = {};
  private timer = 0;
  private names = ["", ""] as [string, string];

  constructor(
    private readonly store: Store,
    onClose: () => void,
  ) {
    for (const dial of DIALS) this.dials.append(this.row(dial));
    const both = el("label", { class: "check", for: "both-directions" }, this.together, "both directions alike");
    this.controls = el("div", { class: "controls" }, this.cut, this.heal);
    const close = el("button", { class: "bare close", type: "button", "aria-label": "Close", onclick: onClose }, "✕");
    this.element.append(
      el("div", { class: "card-head" }, this.title, close),
      this.state, this.presets, el("div", { class: "directions" }, both), this.dials,
      el("div", { class: "inline" }, this.drop, this.undrop), this.controls, this.counts,
    );
    this.cut.addEventListener("click", () => void this.fault("cut"));
    this.heal.addEventListener("click", () => void this.fault("heal"));
    this.undrop.addEventListener("click", () => void this.change({ drop: null }, "it drops no more"));
  }

  show(id: string): void {
    this.link = id;
    for (const slider of this.sliders) slider.touched_ms = 0;
    this.draw();
  }

  draw(): void {
    const row = this.store.tables.links[this.link];
    if (row === undefined) return;
    const mine = row.emulated && this.store.may();
    this.names = [this.store.name(row.a), this.store.name(row.b)];
    setText(this.title, `${this.names[0]} – ${this.names[1]}`);
    this.drawState(row);
    for (const slider of this.sliders) this.place(slider, row[slider.side], mine);
    show(this.presets, mine);
    if (mine) this.drawPresets(row);
    show(this.controls, mine);
    show(this.cut, row.there.up || row.back.up);
    show(this.heal, !row.there.up || !row.back.up);
    show(this.together.parentElement!, mine);
    setText(this.drop, row.drop === null ? "" : `drops for ${span(row.drop.for_s)} every ${span(row.drop.every_s)}`);
    show(this.undrop, mine && row.drop !== null);
    this.drawCounts(row);
  }

  private drawState(row: LinkRow): void {
    const half = row.there.up !== row.back.up ? " (one direction)" : "";
    const rtt = row.rtt_s === null ? "" : ` · round trip ${Math.round(row.rtt_s * 1000)} ms`;
    const good = row.goodput_bytes_s === null ? "" : ` · carries ${rate(row.goodput_bytes_s * 8)}`;
    setText(this.state, `${linkLabel(row.up, row.quality)}${half}${rtt}${good}`);
    setVar(this.state, "--tone", `var(--${linkTone(row.up, row.quality)})`);
  }

  private row(dial: Dial): HTMLElement {
    const group = el("div", { class: "dial" }, el("span", { class: "dial-name" }, dial.name));
    for (const side of ["there", "back"] as const) {
      const arrow = side === "there" ? "→" : "←";
      const input = el("input", {
        type: "range", min: 0, max: dial.steps, step: 1, "data-dial": dial.field, "data-side": side,
        "aria-label": `${dial.name} ${side === "there" ? "there" : "back"}`,
      });
      const output = el("output", { class: "mono" });
      const slider: Slider = { dial, side, input, output, touched_ms: 0 };
      this.sliders.push(slider);
      input.addEventListener("input", () => this.touch(slider));
      group.append(el("div", { class: "direction" }, el("span", { class: "arrow", "aria-hidden": "true" }, arrow), input, output));
    }
    return group;
  }

  private place(slider: Slider, direction: LinkDirection, mine: boolean): void {
    const value = direction[slider.dial.field];
    slider.input.disabled = !mine;
    const to = slider.side === "there" ? this.names : ([this.names[1], this.names[0]] as const);
    slider.input.title = `${slider.dial.name}, ${to[0]} to ${to[1]}`;
    toggle(slider.input, "unknown", value === null);
    if (performance.now() - slider.touched_ms < HOLD_MS) return;
    setText(slider.output, value === null ? "–" : slider.dial.text(value));
    const step = value === null ? "0" : String(Math.round(slider.dial.step(value)));
    if (slider.input.value !== step) slider.input.value = step;
  }

  private touch(slider: Slider): void {
    const value = slider.dial.value(Number(slider.input.value));
    const alike = this.together.checked;
    for (const other of this.sliders) {
      if (other.dial !== slider.dial || (other.side !== slider.side && !alike)) continue;
      other.touched_ms = performance.now();
      other.input.value = slider.input.value;
      setText(other.output, slider.dial.text(value));
      this.pending[other.side] = { ...this.pending[other.side], [slider.dial.field]: value, ...this.bounded(other, value) };
    }
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => void this.send(), 140);
  }

  /** Jitter must not exceed the delay: whichever was moved takes the other along. */
  private bounded(slider: Slider, value: number): Partial<LinkParameters> {
    const row = this.store.tables.links[this.link];
    const wanted = { ...row?.[slider.side], ...this.pending[slider.side] };
    if (slider.dial.field === "delay_ms" && (wanted.jitter_ms ?? 0) > value) return { jitter_ms: value };
    if (slider.dial.field === "jitter_ms" && (wanted.delay_ms ?? 0) < value) return { delay_ms: value };
    return {};
  }

  private async send(): Promise<void> {
    const change = this.pending;
    this.pending = {};
    await this.change(change);
  }

  private async change(change: Omit<LinkChange, "a" | "b">, done?: string): Promise<void> {
    const row = this.store.tables.links[this.link];
    if (row !== undefined) await attempt(setLink({ a: row.a, b: row.b, ...change }), done);
  }

  private async fault(what: "cut" | "heal"): Promise<void> {
    const row = this.store.tables.links[this.link];
    if (row === undefined) return;
    const pair = { a: row.a, b: row.b };
    await attempt(makeFault(what === "cut" ? { fault: "cut", ...pair, both: true } : { fault: "heal", ...pair }));
  }

  private drawPresets(row: LinkRow): void {
    const all: Pick<Preset, "id" | "name" | "text">[] = [...(this.store.header?.presets ?? [])];
    if (!all.some((preset) => preset.id === "scenario")) {
      all.push({ id: "scenario", name: "As it was", text: "what the scenario says" });
    }
    keyed(this.presets, all, (preset) => preset.id,
      (preset) => el("button", { type: "button", class: "preset", "data-preset": preset.id, title: preset.text,
        onclick: () => { for (const s of this.sliders) s.touched_ms = 0; void this.change({ preset: preset.id }, preset.name); } }),
      (button, preset) => {
        setText(button, preset.name);
        button.setAttribute("aria-pressed", String(row.preset === preset.id));
      });
  }

  private drawCounts(row: LinkRow): void {
    const lost = (direction: LinkDirection) => (direction.lost_frames === null ? "" : `, ${direction.lost_frames} lost`);
    const facts: [string, string][] = [
      [`→ ${this.names[1]}`, `${rate(row.there.bytes_s * 8)} · ${bytes(row.there.bytes)}${lost(row.there)}`],
      [`→ ${this.names[0]}`, `${rate(row.back.bytes_s * 8)} · ${bytes(row.back.bytes)}${lost(row.back)}`],
    ];
    drawFacts(this.counts, facts);
  }
}

/** A list of names and values, rows reused. */
export function drawFacts(list: HTMLElement, facts: readonly (readonly [string, string])[]): void {
  keyed(list, facts, (fact) => fact[0],
    () => el("div", {}, el("dt"), el("dd", { class: "mono" })),
    (row, [name, value]) => {
      setText(row.firstElementChild!, name);
      setText(row.lastElementChild!, value);
    });
}
