/** The network as tables: all that the map shows, for keyboards and screen readers too. */

import { el, keyed, setText, setVar } from "../dom";
import { bytes, count, percent, rate, span } from "../format";
import type { Store } from "../store";
import type { LinkRow, NodeRow } from "../types";
import { linkTone, linkLabel, look } from "./states";
import type { Picks } from "./map";

const NODE_HEADS = ["", "node", "does", "battery", "heard", "samples", "round", "memory"];
const LINK_HEADS = ["link", "state", "there", "back", "rate there", "rate back", "sent"];

export class NetworkTable {
  readonly element = el("div", { class: "tables" });
  private readonly nodes = el("tbody");
  private readonly links = el("tbody");
  private picks: Picks = { nodes: [], link: null };

  constructor(
    private readonly store: Store,
    private readonly onPick: (nodes: string[], link: string | null) => void,
  ) {
    this.element.append(sheet("Nodes", NODE_HEADS, this.nodes), sheet("Links", LINK_HEADS, this.links));
  }

  picked(picks: Picks): void {
    this.picks = picks;
  }

  draw(): void {
    const byName = Object.values(this.store.tables.nodes).sort((a, b) => a.name.localeCompare(b.name));
    keyed(this.nodes, byName, (node) => node.id, (node) => this.makeNode(node), (row, node) => this.drawNode(row, node));
    const links = Object.values(this.store.tables.links);
    keyed(this.links, links, (link) => link.id, (link) => this.makeLink(link), (row, link) => this.drawLink(row, link));
  }

  private makeNode(node: NodeRow): HTMLTableRowElement {
    const id = node.id;
    const box = el("input", { type: "checkbox", "aria-label": `select ${node.name}` });
    box.addEventListener("change", () => {
      const others = this.picks.nodes.filter((other) => other !== id);
      this.onPick(box.checked ? [...others, id] : others, null);
    });
    const open = el("button", { type: "button", class: "bare name", onclick: () => this.onPick([id], null) });
    const cells = NODE_HEADS.slice(2).map((_, k) => el("td", { class: k ? "num" : "" }));
    return el("tr", {}, el("td", {}, box), el("th", { scope: "row" }, open), ...cells);
  }

  private drawNode(row: HTMLTableRowElement, node: NodeRow): void {
    const box = row.cells[0]!.firstElementChild as HTMLInputElement;
    box.checked = this.picks.nodes.includes(node.id);
    setText(row.cells[1]!.firstElementChild!, node.name);
    const seen = look(node.state);
    setVar(row.cells[2]!, "--tone", `var(--${seen.colour})`);
    row.cells[2]!.className = "tone";
    const heard = node.me ? "here" : node.heard_t === null ? "–" : span(this.store.now_t() - node.heard_t);
    const texts = [
      seen.label, node.battery === null ? "–" : percent(node.battery, 0), heard, count(node.samples),
      node.round === null ? "–" : String(node.round), bytes(node.resources?.memory_bytes),
    ];
    texts.forEach((text, k) => setText(row.cells[k + 2]!, text));
  }

  private makeLink(link: LinkRow): HTMLTableRowElement {
    const open = el("button", { type: "button", class: "bare name", onclick: () => this.onPick([], link.id) });
    const cells = LINK_HEADS.slice(1).map((_, k) => el("td", { class: k ? "num" : "" }));
    return el("tr", {}, el("th", { scope: "row" }, open), ...cells);
  }

  private drawLink(row: HTMLTableRowElement, link: LinkRow): void {
    setText(row.cells[0]!.firstElementChild!, `${this.store.name(link.a)} – ${this.store.name(link.b)}`);
    setVar(row.cells[1]!, "--tone", `var(--${linkTone(link.up, link.quality)})`);
    row.cells[1]!.className = "tone";
    const shape = (kbit: number | null) => (kbit === null ? "–" : rate(kbit * 1000));
    const texts = [
      linkLabel(link.up, link.quality), rate(link.there.bytes_s * 8), rate(link.back.bytes_s * 8),
      shape(link.there.rate_kbit_s), shape(link.back.rate_kbit_s), bytes(link.there.bytes + link.back.bytes),
    ];
    texts.forEach((text, k) => setText(row.cells[k + 1]!, text));
  }
}

function sheet(name: string, heads: readonly string[], body: HTMLElement): HTMLElement {
  const row = el("tr", {}, ...heads.map((head, k) => el("th", { scope: "col", class: k > 2 ? "num" : "" }, head)));
  return el("table", { class: "sheet" }, el("caption", {}, name), el("thead", {}, row), body);
}
