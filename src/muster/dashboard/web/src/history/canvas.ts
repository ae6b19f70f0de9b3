/** Draws the part of the commit graph that is in sight, so that thousands of commits cost no more than fifty. */

import { branchColour, clear, theme } from "../theme";
import type { Graph, Placed } from "./lanes";

export const STEP = 52; // pixels between columns
const TOP = 30;
const LEFT = 26;

export interface Looks {
  picked: readonly string[];
  near: string | null;
  heads: readonly string[];
  used: ReadonlySet<string>; // commits whose model is in use somewhere
  name: (node: string | null) => string;
}

export class HistoryCanvas {
  private graph: Graph | null = null;
  private gap = 44;
  private top = TOP;
  private readonly canvas: HTMLCanvasElement;

  constructor(
    private readonly scroller: HTMLElement,
    private readonly spacer: HTMLElement,
  ) {
    this.canvas = spacer.querySelector("canvas")!;
  }

  /** Give it the room that the graph needs; keeps to the newest end if it was there. */
  lay(graph: Graph): void {
    const box = this.scroller;
    const atEnd = box.scrollLeft + box.clientWidth > box.scrollWidth - STEP * 1.5;
    this.graph = graph;
    const room = box.clientHeight - TOP - 34;
    this.gap = graph.lanes < 2 ? 44 : Math.max(30, Math.min(58, room / (graph.lanes - 1)));
    const width = LEFT * 2 + 26 + Math.max(0, graph.placed.length - 1) * STEP;
    const height = TOP + 32 + (graph.lanes - 1) * this.gap;
    this.top = TOP + Math.max(0, Math.min(50, (box.clientHeight - height) / 2));
    this.spacer.style.width = `${Math.max(width, box.clientWidth)}px`;
    this.spacer.style.height = `${Math.max(height, box.clientHeight)}px`;
    if (atEnd) box.scrollLeft = box.scrollWidth;
  }

  at(placed: Placed): { x: number; y: number } {
    return { x: LEFT + 10 + placed.column * STEP, y: this.top + placed.lane * this.gap };
  }

  /** The commit under a point of the scrolled content, or null. */
  find(x: number, y: number): Placed | null {
    if (this.graph === null) return null;
    const column = Math.round((x - LEFT - 10) / STEP);
    const found = this.graph.placed[column];
    if (found === undefined) return null;
    const at = this.at(found);
    return Math.abs(at.x - x) < STEP / 2 && Math.abs(at.y - y) < 20 ? found : null;
  }

  reveal(placed: Placed): void {
    const { x, y } = this.at(placed);
    const box = this.scroller;
    if (x < box.scrollLeft + STEP) box.scrollLeft = x - STEP;
    if (x > box.scrollLeft + box.clientWidth - STEP) box.scrollLeft = x - box.clientWidth + STEP;
    if (y < box.scrollTop + 20) box.scrollTop = y - 30;
    if (y > box.scrollTop + box.clientHeight - 30) box.scrollTop = y - box.clientHeight + 40;
  }

  draw(looks: Looks): void {
    const box = this.scroller;
    const context = this.canvas.getContext("2d");
    if (context === null || this.graph === null || !box.clientWidth) return;
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    const [width, height] = [box.clientWidth, box.clientHeight];
    if (this.canvas.width !== Math.round(width * ratio) || this.canvas.height !== Math.round(height * ratio)) {
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
      this.canvas.style.width = `${width}px`;
      this.canvas.style.height = `${height}px`;
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    context.translate(-box.scrollLeft, -box.scrollTop);
    const [from, to] = this.columns(box.scrollLeft, width);
    for (const placed of this.graph.placed.slice(from, Math.min(this.graph.placed.length, to + 40))) {
      this.lines(context, placed, from);
    }
    this.longLines(context, from, to);
    for (const placed of this.graph.placed.slice(from, to)) this.dot(context, placed, looks);
  }

  private columns(left: number, width: number): [number, number] {
    return [Math.max(0, Math.floor((left - LEFT - 20) / STEP) - 1), Math.ceil((left + width) / STEP) + 1];
  }

  private lines(context: CanvasRenderingContext2D, placed: Placed, from: number): void {
    for (const id of placed.commit.parents) {
      const parent = this.graph!.byId.get(id);
      if (parent !== undefined && (parent.column >= from - 40 || placed.column < from)) this.line(context, parent, placed);
    }
  }

  /** Links of children in sight or beyond to parents far to the left. */
  private longLines(context: CanvasRenderingContext2D, from: number, to: number): void {
    for (const branch of this.graph!.branches) {
      const first = branch.commits[0]!;
      const last = branch.commits[branch.commits.length - 1]!;
      if (last.column < from && (branch.into === null || branch.into.column < from)) continue;
      if (first.column > to && (branch.from === null || branch.from.column > to)) continue;
      if (branch.from !== null) this.line(context, branch.from, first);
      if (branch.into !== null) this.line(context, last, branch.into);
      for (const [k, placed] of branch.commits.entries()) {
        const next = branch.commits[k + 1];
        if (next !== undefined && placed.column < from && next.column >= from) this.line(context, placed, next);
      }
    }
  }

  private line(context: CanvasRenderingContext2D, parent: Placed, child: Placed): void {
    const [a, b] = [this.at(parent), this.at(child)];
    const side = parent.lane === child.lane ? parent.branch : Math.max(parent.branch, child.branch);
    context.strokeStyle = branchColour(side);
    context.lineWidth = 2.4;
    context.beginPath();
    context.moveTo(a.x, a.y);
    if (a.y === b.y) context.lineTo(b.x, b.y);
    else if (child.branch === side) {
      const bend = Math.min(b.x, a.x + STEP * 0.8); // leaves at once, then runs along its own lane
      context.bezierCurveTo(a.x + 18, a.y, bend - 22, b.y, bend, b.y);
      context.lineTo(b.x, b.y);
    } else {
      const bend = Math.max(a.x, b.x - STEP * 0.8);
      context.lineTo(bend, a.y);
      context.bezierCurveTo(bend + 22, a.y, b.x - 18, b.y, b.x, b.y);
    }
    context.stroke();
  }

  private dot(context: CanvasRenderingContext2D, placed: Placed, looks: Looks): void {
    const colours = theme();
    const { x, y } = this.at(placed);
    const { commit } = placed;
    const colour = branchColour(placed.branch);
    const picked = looks.picked.includes(commit.id);
    if (picked || looks.near === commit.id) {
      context.fillStyle = clear(colours.blue, picked ? 0.4 : 0.22);
      context.beginPath();
      context.arc(x, y, 12, 0, 6.283);
      context.fill();
    }
    context.beginPath();
    context.arc(x, y, commit.merge ? 5 : 5.6, 0, 6.283);
    context.fillStyle = commit.merge ? colours.panel : colour;
    context.strokeStyle = commit.merge ? colour : colours.panel;
    context.lineWidth = 2;
    context.fill();
    context.stroke();
    if (looks.heads.includes(commit.id)) {
      context.strokeStyle = colour;
      context.lineWidth = 1.6;
      context.beginPath();
      context.arc(x, y, 9, 0, 6.283);
      context.stroke();
    }
    if (looks.used.has(commit.id)) this.mark(context, x, y);
    this.labels(context, placed, x, y, looks);
  }

  /** A small flag: its model is in use. */
  private mark(context: CanvasRenderingContext2D, x: number, y: number): void {
    context.fillStyle = theme().green;
    context.beginPath();
    context.moveTo(x + 7, y - 15);
    context.lineTo(x + 17, y - 11);
    context.lineTo(x + 7, y - 7);
    context.fill();
    context.fillRect(x + 6, y - 15, 1.6, 14);
  }

  private labels(context: CanvasRenderingContext2D, placed: Placed, x: number, y: number, looks: Looks): void {
    const colours = theme();
    context.textAlign = "center";
    context.fillStyle = colours.muted;
    context.font = "10.5px 'JetBrains Mono Variable', monospace";
    context.strokeStyle = colours.panel; // lines run behind the text
    context.lineWidth = 3.5;
    context.lineJoin = "round";
    const write = (text: string, at: number) => {
      context.strokeText(text, x, at);
      context.fillText(text, x, at);
    };
    write(`r${placed.commit.round}`, y - 13);
    if (this.gap < 40) return;
    context.font = "10.5px 'Inter Variable', sans-serif";
    const name = placed.commit.merge ? "merge" : looks.name(placed.commit.coordinator);
    write(name.length > 8 ? `${name.slice(0, 7)}…` : name, y + 22);
  }
}
