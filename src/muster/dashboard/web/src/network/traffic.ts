/** Bytes in motion: dots on a canvas over the map, in both directions, while what they show is the present. */

import type { Store } from "../store";
import { theme } from "../theme";
import { radius } from "./style";
import type { NetworkMap } from "./map";

interface Lane {
  ax: number; ay: number; // where dots of this direction start
  dx: number; dy: number; // unit vector
  length: number;
  link: string;
  back: boolean;
}

const SPEED_PX_S = 62;
const LANES_MOVING_MAX = 400;

export class Traffic {
  private lanes: Lane[] = [];
  private stale = true;
  private drawn = false;
  private readonly still = window.matchMedia("(prefers-reduced-motion: reduce)");

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly map: NetworkMap,
    private readonly store: Store,
  ) {}

  /** Nodes moved, or the view did. */
  moved(): void {
    this.stale = true;
  }

  draw(now_ms: number): void {
    const context = this.canvas.getContext("2d");
    if (context === null || !this.canvas.clientWidth) return;
    if (this.stale) this.measure(context);
    if (this.drawn) context.clearRect(0, 0, this.canvas.clientWidth, this.canvas.clientHeight);
    this.drawn = false;
    if (!this.store.alive()) return;
    context.fillStyle = theme().packet;
    context.beginPath();
    const size = this.map.cy.nodes().length > 60 ? 1.4 : 2.1;
    let moving = 0;
    for (const lane of this.lanes) {
      const link = this.store.tables.links[lane.link];
      if (link === undefined || !link.up) continue;
      const bytes_s = lane.back ? link.back.bytes_s : link.there.bytes_s;
      if (bytes_s < 40 || lane.length < 8) continue;
      if (++moving > LANES_MOVING_MAX) break;
      this.dots(context, lane, bytes_s, now_ms, size);
    }
    if (moving) {
      context.fill();
      this.drawn = true;
    }
  }

  private dots(context: CanvasRenderingContext2D, lane: Lane, bytes_s: number, now_ms: number, size: number): void {
    const gap = Math.max(13, 120 - 24 * Math.log10(bytes_s / 20)); // 40 B/s: one dot in 110 px; 100 kB/s: in 30
    const along = this.still.matches ? gap / 2 : (now_ms / 1000) * SPEED_PX_S;
    for (let at = along % gap; at < lane.length; at += gap) {
      const x = lane.ax + lane.dx * at;
      const y = lane.ay + lane.dy * at;
      context.moveTo(x + size, y);
      context.arc(x, y, size, 0, 6.283);
    }
  }

  private measure(context: CanvasRenderingContext2D): void {
    this.stale = false;
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    if (this.canvas.width !== Math.round(width * ratio) || this.canvas.height !== Math.round(height * ratio)) {
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const { cy } = this.map;
    const count = cy.nodes().length;
    const inset = radius(count) * cy.zoom() + 3;
    const side = (count > 60 ? 1.5 : 3) * Math.min(2, cy.zoom());
    const labels = count <= 60;
    this.lanes = [];
    for (const edge of cy.edges().toArray()) {
      const from = edge.source().renderedPosition();
      const to = edge.target().renderedPosition();
      const length = Math.hypot(to.x - from.x, to.y - from.y);
      if (length < 2 * inset) continue;
      const [dx, dy] = [(to.x - from.x) / length, (to.y - from.y) / length];
      const [nx, ny] = [-dy * side, dx * side]; // each keeps to its own side
      const start = inset + (labels ? Math.max(0, dy) * 20 : 0); // below a node stands its name
      const end = inset + (labels ? Math.max(0, -dy) * 20 : 0);
      const whole = length - start - end;
      const link = edge.data("link") as string;
      this.lanes.push({ ax: from.x + dx * start + nx, ay: from.y + dy * start + ny, dx, dy, length: whole, link, back: false });
      this.lanes.push({ ax: to.x - dx * end - nx, ay: to.y - dy * end - ny, dx: -dx, dy: -dy, length: whole, link, back: true });
    }
  }
}
