/** Labelling pictures with one key a class: the samples of which the model is least certain, one after the other. */

import { giveLabel, toLabel } from "./api";
import { el, setText, show } from "./dom";
import { plural } from "./format";
import { attempt, say } from "./say";
import type { LabelSample, ToLabel } from "./types";

const BATCH = 24;
const KEYS = "1234567890abcdefghijklmnopqrtvwxyz"; // s and u are taken
const SKIP = "s";

/** The key of each class: its own digit where the classes are digits, else in the order of the keyboard's row. */
export function keysOf(classes: readonly string[]): string[] {
  if (classes.every((name) => /^[0-9]$/.test(name))) return [...classes];
  return classes.map((_, k) => KEYS[k] ?? "");
}

export async function openLabelling(task: string): Promise<void> {
  let batch: ToLabel;
  try {
    batch = await toLabel(task, BATCH);
  } catch (error) {
    say(error instanceof Error ? error.message : String(error), true);
    return;
  }
  if (!batch.samples.length) return say(`no sample of ${task} waits for a label: they come with requests`);
  if (!batch.classes.length) return say(`${task} has no classes to choose from: label it with muster label ${task}`, true);
  new Labelling(task, batch).open();
}

class Labelling {
  private readonly canvas = el("canvas", { class: "sample", "aria-label": "Sample" });
  private readonly numbers = el("pre", { class: "sample mono" });
  private readonly said = el("p", { class: "muted small" });
  private readonly given = el("p", { class: "muted small", role: "status" });
  private readonly dialog: HTMLDialogElement;
  private readonly keys: string[];
  private at = 0;
  private done = 0;
  private busy = false;

  constructor(
    private readonly task: string,
    private batch: ToLabel,
  ) {
    this.keys = keysOf(batch.classes);
    const buttons = batch.classes.map((name, k) =>
      el("button", { type: "button", "data-label": k, onclick: () => void this.give(k) },
        el("kbd", {}, this.keys[k] ?? ""), this.keys[k] === name ? "" : ` ${name}`));
    const skip = el("button", { type: "button", onclick: () => void this.next() }, el("kbd", {}, SKIP), " skip");
    const close = el("button", { type: "button", onclick: () => this.dialog.close() }, "Close");
    this.dialog = el("dialog", { class: "labelling", "aria-label": "Label samples" },
      el("h2", {}, `What is this? (${task})`), this.canvas, this.numbers, this.said,
      el("div", { class: "classes" }, ...buttons), el("div", { class: "row-buttons" }, skip, close), this.given);
    this.dialog.addEventListener("keydown", (event) => this.key(event));
    this.dialog.addEventListener("close", () => this.dialog.remove());
  }

  open(): void {
    document.body.append(this.dialog);
    this.dialog.showModal();
    this.draw();
  }

  private key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const k = this.keys.indexOf(event.key.toLowerCase());
    if (k >= 0) void this.give(k);
    else if (event.key.toLowerCase() === SKIP) void this.next();
    else return;
    event.preventDefault();
  }

  private async give(label: number): Promise<void> {
    const sample = this.batch.samples[this.at];
    if (this.busy || sample === undefined) return;
    this.busy = true;
    const well = await attempt(giveLabel(this.task, sample.id, label, sample.held));
    this.busy = false;
    if (!well) return;
    this.done++;
    await this.next();
  }

  private async next(): Promise<void> {
    this.at++;
    if (this.at >= this.batch.samples.length) {
      const seen = new Set(this.batch.samples.map((sample) => sample.id));
      const more = await toLabel(this.task, BATCH).catch(() => null);
      const fresh = more?.samples.filter((sample) => !seen.has(sample.id)) ?? [];
      if (more === null || !fresh.length) {
        say(`${plural(this.done, "label")} given; no other sample waits`);
        return this.dialog.close();
      }
      this.batch = { ...more, samples: fresh };
      this.at = 0;
    }
    this.draw();
  }

  private draw(): void {
    const sample = this.batch.samples[this.at]!;
    show(this.canvas, sample.pixels !== "");
    show(this.numbers, sample.pixels === "");
    if (sample.pixels !== "") paint(this.canvas, sample);
    else setText(this.numbers, sample.text);
    const answer = sample.answer === null ? "" : `the model says ${this.batch.classes[sample.answer] ?? sample.answer}`;
    setText(this.said, answer);
    setText(this.given, this.done ? `${plural(this.done, "label")} given` : "press the key of its class");
  }
}

/** Grey or coloured pixels, a byte each, as large as fits. */
function paint(canvas: HTMLCanvasElement, sample: LabelSample): void {
  const { width, height, channels } = sample;
  const bytes = Uint8Array.from(atob(sample.pixels), (char) => char.charCodeAt(0));
  const image = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = bytes[i * channels + (channels === 3 ? c : 0)]!;
    image.data[4 * i + 3] = 255;
  }
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d")?.putImageData(image, 0, 0);
}
