/** The network panel: map or table, and beside it the card of what is selected. */

import { byId, el, setText, show, svg, toggle } from "../dom";
import type { Frames } from "../frame";
import { plural } from "../format";
import type { Store } from "../store";
import { GroupCard } from "./group";
import { LinkPanel } from "./linkpanel";
import { NetworkMap, type Picks } from "./map";
import { NodeCard } from "./nodecard";
import { LEGEND, look } from "./states";
import { NetworkTable } from "./table";
import { Traffic } from "./traffic";

export class NetworkPanel {
  readonly map: NetworkMap;
  private readonly stage = byId("stage");
  private readonly side = byId("network-side");
  private readonly table: NetworkTable;
  private readonly link: LinkPanel;
  private readonly node: NodeCard;
  private readonly group: GroupCard;
  private readonly traffic: Traffic;
  private picks: Picks = { nodes: [], link: null };
  private asTable = false;
  private at = -1; // keyboard: which of nodes and links is in turn

  constructor(
    private readonly store: Store,
    private readonly frames: Frames,
  ) {
    this.map = new NetworkMap(this.stage, store, (picks) => this.picked(picks), () => this.traffic?.moved());
    this.traffic = new Traffic(byId<HTMLCanvasElement>("traffic"), this.map, store);
    this.table = new NetworkTable(store, (nodes, link) => this.map.pick(nodes, link));
    const close = () => this.map.pick([]);
    this.link = new LinkPanel(store, close);
    this.node = new NodeCard(store, close);
    this.group = new GroupCard(store, close);
    byId("tables").append(this.table.element);
    this.side.append(this.link.element, this.node.element, this.group.element);
    this.tools();
    this.legend();
    this.keys();
    frames.animate((now_ms) => {
      if (!this.asTable) this.traffic.draw(now_ms);
    });
    this.picked(this.picks);
  }

  drawMap(): void {
    const nodes = Object.values(this.store.tables.nodes);
    const links = Object.values(this.store.tables.links);
    const up = links.filter((link) => link.up).length;
    setText(byId("network-note"), `${plural(nodes.length, "node")} · ${up} of ${plural(links.length, "link")} up`);
    if (this.asTable) this.table.draw();
    else this.map.draw();
    show(byId("stage-empty"), nodes.length === 0);
  }

  drawCard(): void {
    if (this.picks.link !== null) this.link.draw();
    else if (this.picks.nodes.length === 1) this.node.draw();
    else if (this.picks.nodes.length > 1) this.group.draw();
  }

  private picked(picks: Picks): void {
    this.picks = picks;
    const { nodes, link } = picks;
    this.table.picked(picks);
    show(this.link.element, link !== null);
    show(this.node.element, nodes.length === 1);
    show(this.group.element, nodes.length > 1);
    const open = link !== null || nodes.length > 0;
    show(this.side, open);
    toggle(byId("network"), "open", open);
    if (link !== null) this.link.show(link);
    else if (nodes.length === 1) this.node.show(nodes[0]!);
    else if (nodes.length > 1) this.group.show(nodes);
    this.frames.drawSoon("map", "card");
  }

  private tools(): void {
    const [map, table] = [byId("as-map"), byId("as-table")];
    const turn = (asTable: boolean) => {
      this.asTable = asTable;
      map.setAttribute("aria-pressed", String(!asTable));
      table.setAttribute("aria-pressed", String(asTable));
      toggle(byId("network"), "as-table", asTable);
      if (!asTable) this.map.fit();
      this.frames.drawSoon("map");
    };
    map.addEventListener("click", () => turn(false));
    table.addEventListener("click", () => turn(true));
    byId("zoom-in").addEventListener("click", () => this.map.zoom(1.4));
    byId("zoom-out").addEventListener("click", () => this.map.zoom(1 / 1.4));
    byId("tidy").addEventListener("click", () => this.map.tidy());
    const several = byId("several");
    several.addEventListener("click", () => {
      const on = several.getAttribute("aria-pressed") !== "true";
      several.setAttribute("aria-pressed", String(on));
      this.map.cy.selectionType(on ? "additive" : "single");
    });
  }

  private legend(): void {
    for (const state of LEGEND) {
      const { label, colour, sign } = look(state);
      const icon = svg("svg", { viewBox: "0 0 24 24", class: "sign", "aria-hidden": "true" }, svg("path", { d: sign }));
      icon.style.setProperty("--tone", `var(--${colour})`);
      byId("legend-states").append(el("li", {}, icon, label));
    }
  }

  /** Arrow keys go through nodes (left, right) and links (up, down); Escape lets go. */
  private keys(): void {
    this.stage.addEventListener("keydown", (event) => {
      const nodes = Object.keys(this.store.tables.nodes);
      const links = Object.keys(this.store.tables.links);
      const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (event.key === "Escape") this.map.pick([]);
      if (step === undefined) return;
      const list = event.key === "ArrowRight" || event.key === "ArrowLeft" ? nodes : links;
      if (!list.length) return;
      event.preventDefault();
      this.at = (this.at + step + list.length) % list.length;
      const id = list[this.at]!;
      this.map.pick(list === nodes ? [id] : [], list === links ? id : null);
    });
  }
}
