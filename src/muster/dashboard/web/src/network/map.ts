/** The map: cytoscape on a canvas. Positions are kept as parts of the panel's size, so that it can shrink. */

import cytoscape from "cytoscape";
import type { Store } from "../store";
import { mix, onTheme, theme } from "../theme";
import type { LinkRow, NodeRow } from "../types";
import { absent, freshness, linkTone, look } from "./states";
import { arrange, Kept, type Point } from "./layout";
import { signImage, styles } from "./style";

export interface Picks {
  nodes: string[];
  link: string | null;
}

const MARGIN = { top: 36, right: 48, bottom: 50, left: 48 };

export class NetworkMap {
  readonly cy: cytoscape.Core;
  private kept: Kept | null = null;
  private network = "";
  private points = new Map<string, Point>();
  private shown = "";
  private narrow = false;

  constructor(
    private readonly stage: HTMLElement,
    private readonly store: Store,
    private readonly onPick: (picks: Picks) => void,
    readonly onMove: () => void,
  ) {
    this.cy = cytoscape({
      container: stage,
      style: styles(8),
      layout: { name: "preset" },
      boxSelectionEnabled: true,
      selectionType: "single",
      minZoom: 0.6,
      maxZoom: 5,
      userZoomingEnabled: false, // the wheel scrolls the page; Ctrl and wheel, or the buttons, zoom
      userPanningEnabled: true,
      pixelRatio: Math.min(2, window.devicePixelRatio || 1),
    });
    this.listen();
    new ResizeObserver(() => this.fit()).observe(stage);
    onTheme(() => this.restyle());
    void document.fonts.ready.then(() => this.restyle());
  }

  private listen(): void {
    let queued = false;
    this.cy.on("select unselect", () => {
      if (queued) return;
      queued = true;
      queueMicrotask(() => {
        queued = false;
        if (this.cy.nodes(":selected").length) this.cy.edges(":selected").unselect(); // a box is for nodes
        this.onPick(this.picks());
      });
    });
    this.cy.on("dragfree", "node", () => this.keep());
    this.cy.on("position pan zoom resize", () => this.onMove());
    this.cy.on("mouseover", "node", (event) => event.target.addClass("near"));
    this.cy.on("mouseout", "node", (event) => event.target.removeClass("near"));
    this.stage.addEventListener(
      "touchmove",
      (event) => {
        if (this.narrow) event.stopPropagation(); // or cytoscape holds the page still when a finger starts on a node
      },
      { passive: true },
    );
    this.stage.addEventListener(
      "wheel",
      (event) => {
        if (!event.ctrlKey && !event.metaKey) return;
        event.preventDefault();
        this.zoom(Math.exp(-event.deltaY / 300), { x: event.offsetX, y: event.offsetY });
      },
      { passive: false },
    );
  }

  picks(): Picks {
    const nodes = this.cy.nodes(":selected").map((node) => node.data("node") as string);
    const link = nodes.length ? undefined : this.cy.edges(":selected")[0];
    return { nodes, link: link?.data("link") ?? null };
  }

  /** Select exactly these; the map then tells. */
  pick(nodes: readonly string[], link: string | null = null): void {
    this.cy.batch(() => {
      this.cy.elements(":selected").unselect();
      for (const id of nodes) this.cy.getElementById(`n:${id}`).select();
      if (link !== null) this.cy.getElementById(`l:${link}`).select();
    });
    this.onPick(this.picks());
  }

  zoom(factor: number, about?: { x: number; y: number }): void {
    const at = about ?? { x: this.stage.clientWidth / 2, y: this.stage.clientHeight / 2 };
    const level = Math.min(5, Math.max(1, this.cy.zoom() * factor));
    if (level === 1) this.cy.viewport({ zoom: 1, pan: { x: 0, y: 0 } });
    else this.cy.zoom({ level, renderedPosition: at });
  }

  /** Forget what was dragged. */
  tidy(): void {
    this.kept?.clear();
    this.shown = "";
    this.draw();
  }

  /** Bring the drawing up to the store. */
  draw(): void {
    const nodes = Object.values(this.store.tables.nodes);
    const links = Object.values(this.store.tables.links);
    const shown = [...nodes.map((n) => n.id), "|", ...links.map((l) => l.id)].join(" ");
    if (shown !== this.shown) this.rebuild(nodes, links, shown);
    const now_t = this.store.now_t();
    const small = nodes.length > 60;
    const instead = this.instead();
    this.cy.batch(() => {
      for (const node of nodes) this.update(`n:${node.id}`, nodeData(node, now_t, small, instead.has(node.id)));
      for (const link of links) this.update(`l:${link.id}`, linkData(link));
    });
  }

  /** The nodes that the job's newest round was without, and in whose place others train. */
  private instead(): ReadonlySet<string> {
    const job = this.store.job();
    const row = job === null ? undefined : this.store.tables.jobs[job];
    return new Set(row === undefined ? [] : this.store.tables.commits[row.head]?.stand_ins);
  }

  private update(id: string, data: Record<string, unknown>): void {
    const element = this.cy.getElementById(id);
    const sum = Object.values(data).join(" ");
    if (element.empty() || element.scratch("_sum") === sum) return;
    element.scratch("_sum", sum);
    element.data(data);
  }

  private rebuild(nodes: NodeRow[], links: LinkRow[], shown: string): void {
    this.shown = shown;
    const header = this.store.header;
    const network = header === null ? "" : `${header.view}@${header.title}`;
    if (network !== this.network || this.kept === null) this.kept = new Kept(network);
    this.network = network;
    const ids = nodes.map((node) => node.id);
    const fresh = arrange(ids, links.map((link) => [link.a, link.b] as const));
    this.points = new Map(ids.map((id) => [id, this.kept?.get(id) ?? fresh.get(id)!]));
    const wanted = new Set([...ids.map((id) => `n:${id}`), ...links.map((link) => `l:${link.id}`)]);
    const now_t = this.store.now_t();
    const small = nodes.length > 60;
    const instead = this.instead();
    this.cy.batch(() => {
      this.cy.elements().filter((element) => !wanted.has(element.id())).remove();
      for (const node of nodes) {
        if (this.cy.getElementById(`n:${node.id}`).empty()) {
          this.cy.add({ group: "nodes", data: { id: `n:${node.id}`, node: node.id, ...nodeData(node, now_t, small, instead.has(node.id)) } });
        }
      }
      for (const link of links) {
        const [source, target] = [`n:${link.a}`, `n:${link.b}`];
        const there = !this.cy.getElementById(source).empty() && !this.cy.getElementById(target).empty();
        if (there && this.cy.getElementById(`l:${link.id}`).empty()) {
          this.cy.add({ group: "edges", data: { id: `l:${link.id}`, link: link.id, source, target, ...linkData(link) } });
        }
      }
    });
    this.restyle();
    this.fit();
  }

  private restyle(): void {
    this.cy.style(styles(this.cy.nodes().length));
    this.cy.elements().removeScratch("_sum");
    this.draw2();
  }

  private draw2(): void {
    if (this.shown !== "") this.draw();
  }

  fit(): void {
    const [width, height] = [this.stage.clientWidth, this.stage.clientHeight];
    if (!width || !height) return;
    const narrow = window.matchMedia("(max-width: 640px)").matches;
    if (narrow !== this.narrow) {
      this.narrow = narrow;
      this.cy.userPanningEnabled(!narrow); // a finger on the map scrolls the page
      this.cy.autoungrabify(narrow);
    }
    this.cy.resize();
    this.cy.batch(() => {
      for (const [id, point] of this.points) this.cy.getElementById(`n:${id}`).position(place(point, width, height));
    });
    this.cy.viewport({ zoom: 1, pan: { x: 0, y: 0 } });
    this.onMove();
  }

  private keep(): void {
    const [width, height] = [this.stage.clientWidth, this.stage.clientHeight];
    for (const node of this.cy.nodes().toArray()) {
      const id = node.data("node") as string;
      const point = part(node.position(), width, height);
      const before = this.points.get(id);
      if (before !== undefined && Math.hypot(before[0] - point[0], before[1] - point[1]) < 1e-4) continue;
      this.points.set(id, point);
      this.kept?.set(id, point);
    }
  }
}

function place(point: Point, width: number, height: number): { x: number; y: number } {
  return {
    x: MARGIN.left + point[0] * Math.max(10, width - MARGIN.left - MARGIN.right),
    y: MARGIN.top + point[1] * Math.max(10, height - MARGIN.top - MARGIN.bottom),
  };
}

function part(at: { x: number; y: number }, width: number, height: number): Point {
  return [
    (at.x - MARGIN.left) / Math.max(10, width - MARGIN.left - MARGIN.right),
    (at.y - MARGIN.top) / Math.max(10, height - MARGIN.top - MARGIN.bottom),
  ];
}

function nodeData(node: NodeRow, now_t: number, small: boolean, instead: boolean): Record<string, unknown> {
  const colours = theme();
  const seen = look(node.state);
  const battery = node.battery;
  const tone = battery === null ? colours.muted : battery > 0.5 ? colours.green : battery > 0.2 ? colours.yellow : colours.red;
  const ring = battery === null ? 100 : Math.round(battery * 100);
  const gone = absent(node);
  return {
    label: node.name,
    fill: gone ? colours.soft : small ? colours[seen.colour] : mix(colours[seen.colour], colours.panel, 0.36),
    battery: ring,
    rest: 100 - ring,
    tone,
    sign: small ? "none" : signImage(seen.sign, gone ? colours.grey : mix(colours[seen.colour], colours.text, 0.75)),
    border: instead ? "dashed" : "solid",
    edge: instead ? colours.teal : colours.panel,
    opacity: gone ? Math.min(0.75, freshness(node, now_t)) : freshness(node, now_t),
  };
}

function linkData(link: LinkRow): Record<string, unknown> {
  const bytes_s = link.there.bytes_s + link.back.bytes_s;
  const width = link.up ? 1.6 + Math.min(6.4, Math.max(0, Math.log10(1 + bytes_s / 60)) * 1.7) : 1.6;
  return {
    tone: theme()[linkTone(link.up, link.quality)],
    width: Math.round(width * 2) / 2,
    line: link.up ? "solid" : "dashed",
    fade: link.up ? 0.72 : 0.9,
  };
}
