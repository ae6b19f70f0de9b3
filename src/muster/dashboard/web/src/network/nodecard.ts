/** One node's card: state, what it offers and does, resources; in an emulation also what can be done to it. */

import { makeFault, type Fault } from "../api";
import { el, keyed, setText, setVar, show } from "../dom";
import { bytes, count, figure, percent, span } from "../format";
import { attempt } from "../say";
import type { Store } from "../store";
import type { NodeRow } from "../types";
import { InUse } from "./inuse";
import { drawFacts } from "./linkpanel";
import { look } from "./states";

type Act = "kill" | "restart" | "pause" | "resume" | "leave" | "return";
const LABELS: Record<Act, string> = {
  kill: "Kill", restart: "Restart", pause: "Pause", resume: "Resume", leave: "Radio off", return: "Radio on",
};

/** What can sensibly be done to a node as it is. */
export function acts(node: NodeRow): Act[] {
  if (node.emulated === null) return [];
  const process = node.emulated.process;
  if (process === "ended") return ["restart"];
  const radio: Act = node.emulated.away ? "return" : "leave";
  return [process === "paused" ? "resume" : "pause", radio, "restart", "kill"];
}

export class NodeCard {
  readonly element = el("section", { class: "card node-card", "aria-label": "Node" });
  private node = "";
  private readonly title = el("h3");
  private readonly state = el("p", { class: "state" });
  private readonly battery = el("div", { class: "meter", role: "img" }, el("i"));
  private readonly buttons = el("div", { class: "controls two" });
  private readonly facts = el("dl", { class: "facts" });
  private readonly tasks = el("ul", { class: "tasks" });
  private readonly inUse: InUse;

  constructor(
    private readonly store: Store,
    onClose: () => void,
  ) {
    this.inUse = new InUse(store);
    const close = el("button", { class: "bare close", type: "button", "aria-label": "Close", onclick: onClose }, "✕");
    this.element.append(
      el("div", { class: "card-head" }, this.title, close),
      this.state, this.battery, this.buttons, this.inUse.element, this.facts, this.tasks,
    );
  }

  show(id: string): void {
    this.node = id;
    this.draw();
  }

  draw(): void {
    const node = this.store.tables.nodes[this.node];
    if (node === undefined) return;
    const seen = look(node.state);
    setText(this.title, node.name);
    setText(this.state, `${seen.label}${part(node)} · ${this.heard(node)}`);
    setVar(this.state, "--tone", `var(--${seen.colour})`);
    this.drawBattery(node);
    const possible = this.store.may() ? acts(node) : [];
    show(this.buttons, possible.length > 0);
    keyed(this.buttons, possible, (act) => act,
      (act) => el("button", { type: "button", "data-do": act, class: act === "kill" ? "danger" : act === "restart" ? "good" : "",
        onclick: () => void attempt(makeFault({ fault: act, node: this.node } as Fault)) }, LABELS[act]),
      () => undefined);
    this.inUse.draw(node);
    drawFacts(this.facts, this.list(node));
    keyed(this.tasks, node.tasks, (task) => task.name,
      () => el("li"),
      (item, task) => setText(item, describe(task)));
  }

  private heard(node: NodeRow): string {
    if (node.me) return "whose view this is";
    if (node.heard_t === null) return "no heartbeat yet";
    return `last heartbeat ${span(this.store.now_t() - node.heard_t)} ago`;
  }

  private drawBattery(node: NodeRow): void {
    const level = node.battery;
    this.battery.setAttribute("aria-label", level === null ? "battery: not known" : `battery ${percent(level, 0)}`);
    show(this.battery, level !== null);
    if (level !== null) {
      setVar(this.battery, "--part", `${Math.round(level * 100)}%`);
      setVar(this.battery, "--tone", level > 0.5 ? "var(--green)" : level > 0.2 ? "var(--yellow)" : "var(--red)");
    }
  }

  private list(node: NodeRow): [string, string][] {
    const found: [string, string][] = [];
    if (node.battery !== null) found.push(["battery", percent(node.battery, 0)]);
    if (node.plan !== null) {
      found.push([`round ${node.plan.round}`, `${node.plan.steps} steps, ${node.plan.codec}`]);
      if (node.plan.deadline_t !== null) found.push(["closes in", span(node.plan.deadline_t - this.store.now_t())]);
    }
    if (node.offer !== null) {
      found.push(["offers", `${count(node.offer.samples)} samples, ${(node.offer.step_s * 1000).toFixed(1)} ms/step`]);
    } else if (node.samples !== null) found.push(["data", `${count(node.samples)} samples`]);
    for (const of of node.shared) found.push(["shared", shared(of)]);
    if (node.left !== null) found.push(...left(node.left, this.store.now_t()));
    if (node.refusal !== null) found.push(["refuses", node.refusal]);
    if (node.refused > 0 || node.cut_off) found.push(["was refused", refused(node)]);
    for (const sentence of node.health ?? []) found.push(["not well", sentence]);
    found.push(...this.resources(node));
    return found;
  }

  private resources(node: NodeRow): [string, string][] {
    const found: [string, string][] = [];
    const own = node.resources;
    if (own !== null) {
      if (own.memory_bytes !== null) found.push(["memory", bytes(own.memory_bytes)]);
      if (own.disk_bytes !== null) found.push(["keeps on disk", bytes(own.disk_bytes)]);
      if (own.began_t !== null) found.push(["up for", span(this.store.now_t() - own.began_t)]);
      found.push(["process", `${own.pid}, version ${own.version}`]);
    }
    if (node.emulated !== null) {
      found.push(["address", node.emulated.address]);
      if (node.emulated.slowdown !== 1) found.push(["slower by", `× ${node.emulated.slowdown}`]);
    } else if (own !== null && own.listen.length) found.push(["listens", own.listen.join(", ")]);
    if (node.key !== null) found.push(["identity", node.key.slice(0, 16)]);
    return found;
  }
}

/** What its owner lets others use yet of today. */
function left(of: NonNullable<NodeRow["left"]>, now_t: number): [string, string][] {
  const parts: string[] = [];
  if (of.bytes !== null) parts.push(bytes(of.bytes));
  if (of.joules !== null) parts.push(`${figure(of.joules, 0)} J`);
  if (of.until_t !== null) parts.push(span(of.until_t - now_t));
  const found: [string, string][] = parts.length ? [["left today", parts.join(", ")]] : [];
  if (of.why !== "") found.push(["not now", of.why]);
  return found;
}

/** What of its data it shared with a job. */
function shared(of: NodeRow["shared"][number]): string {
  const kind = of.kind === "samples" || of.kind === "medoids" ? "samples" : of.kind === "means" ? "means" : "centres";
  return `${count(of.samples)} ${kind}, ${bytes(of.bytes)} with job ${of.job.slice(0, 8)}`;
}

function describe(task: NodeRow["tasks"][number]): string {
  if (task.error !== null) return `${task.name}: ${task.error}`;
  if (!task.parameters) return `${task.name}: not usable here, its data is not there`;
  return `${task.name} ${task.version}: ${count(task.samples)} samples, ${count(task.parameters)} parameters`;
}

function refused(node: NodeRow): string {
  const records = `${count(node.refused)} records that cannot be`;
  return node.cut_off ? `${records}; it goes on, and is not heard for some minutes` : records;
}

function part(node: NodeRow): string {
  return node.progress === null || node.progress <= 0 || node.progress >= 1 ? "" : ` ${percent(node.progress, 0)}`;
}
