/**
 * Where nodes stand, in the unit square: springs along links, repulsion between all (Fruchterman and Reingold,
 * Graph drawing by force-directed placement, 1991), then turned so that the long side lies along x.
 * Deterministic: it starts from a circle in the order of the names.
 */

export type Point = [number, number];

export function arrange(ids: readonly string[], links: readonly (readonly [string, string])[]): Map<string, Point> {
  const n = ids.length;
  const at: Point[] = ids.map((_, k) => {
    const angle = (2 * Math.PI * k) / Math.max(1, n);
    const radius = 0.5 + 0.03 * ((k * 7) % 5); // not all alike, or symmetry would hold it on the circle
    return [Math.cos(angle) * radius, Math.sin(angle) * radius];
  });
  const place = new Map(ids.map((id, k) => [id, k]));
  const pairs = links.flatMap(([a, b]) => {
    const i = place.get(a);
    const j = place.get(b);
    return i === undefined || j === undefined ? [] : [[i, j] as const];
  });
  const rounds = n > 120 ? 160 : 320;
  for (let k = 0; k < rounds; k++) push(at, pairs, 0.12 * (1 - k / rounds) ** 1.5 + 0.002);
  turn(at);
  spread(at);
  return new Map(ids.map((id, k) => [id, at[k]!]));
}

function push(at: Point[], pairs: readonly (readonly [number, number])[], heat: number): void {
  const n = at.length;
  const ideal = 1.1 / Math.sqrt(Math.max(1, n));
  const force = at.map((): Point => [0, 0]);
  const along = (i: number, j: number, strength: (distance: number) => number) => {
    const dx = at[i]![0] - at[j]![0];
    const dy = at[i]![1] - at[j]![1];
    const distance = Math.max(1e-3, Math.hypot(dx, dy));
    const pull = strength(distance) / distance;
    force[i]![0] += dx * pull;
    force[i]![1] += dy * pull;
    force[j]![0] -= dx * pull;
    force[j]![1] -= dy * pull;
  };
  for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) along(i, j, (d) => (ideal * ideal) / d);
  for (const [i, j] of pairs) along(i, j, (d) => -(d * d) / ideal);
  for (let i = 0; i < n; i++) {
    force[i]![0] -= at[i]![0] * ideal; // a light hold on the middle, so that islands stay in sight
    force[i]![1] -= at[i]![1] * ideal;
    const size = Math.hypot(...force[i]!) || 1;
    const step = Math.min(size, heat) / size;
    at[i]![0] += force[i]![0] * step;
    at[i]![1] += force[i]![1] * step;
  }
}

/** Principal axis along x, then scaled into the unit square, both axes by their own range. */
function turn(at: Point[]): void {
  const n = Math.max(1, at.length);
  const mean = at.reduce<Point>((sum, [x, y]) => [sum[0] + x / n, sum[1] + y / n], [0, 0]);
  let xx = 0;
  let xy = 0;
  let yy = 0;
  for (const point of at) {
    point[0] -= mean[0];
    point[1] -= mean[1];
    xx += point[0] ** 2;
    xy += point[0] * point[1];
    yy += point[1] ** 2;
  }
  const angle = -0.5 * Math.atan2(2 * xy, xx - yy);
  const [c, s] = [Math.cos(angle), Math.sin(angle)];
  for (const point of at) {
    const [x, y] = point;
    point[0] = x * c - y * s;
    point[1] = x * s + y * c;
  }
  for (const axis of [0, 1] as const) {
    const values = at.map((point) => point[axis]);
    const low = Math.min(...values);
    const range = Math.max(1e-6, Math.max(...values) - low);
    for (const point of at) point[axis] = at.length < 2 ? 0.5 : (point[axis] - low) / range;
  }
  const first = at[0];
  if (first !== undefined && first[0] > 0.5) for (const point of at) point[0] = 1 - point[0]; // the first one left
}

/** Push apart what would lie upon each other. */
function spread(at: Point[]): void {
  const wanted = Math.min(0.12, 0.72 / Math.sqrt(Math.max(1, at.length)));
  for (let k = 0; k < 40; k++) {
    let moved = false;
    for (let i = 0; i < at.length; i++) {
      for (let j = 0; j < i; j++) {
        const [p, q] = [at[i]!, at[j]!];
        const dx = p[0] - q[0];
        const dy = p[1] - q[1];
        const distance = Math.hypot(dx, dy);
        if (distance >= wanted) continue;
        moved = true;
        const angle = distance < 1e-6 ? i : Math.atan2(dy, dx);
        const step = (wanted - distance) / 2;
        p[0] += Math.cos(angle) * step;
        p[1] += Math.sin(angle) * step;
        q[0] -= Math.cos(angle) * step;
        q[1] -= Math.sin(angle) * step;
      }
    }
    for (const point of at) for (const axis of [0, 1] as const) point[axis] = Math.min(1, Math.max(0, point[axis]));
    if (!moved) return;
  }
}

const KEY = "muster.layout:";

/** Positions that the reader gave to nodes, kept in this browser for each network. */
export class Kept {
  private readonly key: string;
  private readonly points: Record<string, Point>;

  constructor(network: string) {
    this.key = KEY + network;
    this.points = read(this.key);
  }

  get(id: string): Point | undefined {
    return Object.hasOwn(this.points, id) ? this.points[id] : undefined;
  }

  set(id: string, point: Point): void {
    this.points[id] = point;
    localStorage.setItem(this.key, JSON.stringify(this.points));
  }

  clear(): void {
    for (const id of Object.keys(this.points)) delete this.points[id];
    localStorage.removeItem(this.key);
  }
}

function read(key: string): Record<string, Point> {
  try {
    const kept = JSON.parse(localStorage.getItem(key) ?? "{}") as Record<string, unknown>;
    const good = Object.entries(kept).filter(
      ([, p]) => Array.isArray(p) && p.length === 2 && p.every((x) => typeof x === "number" && Number.isFinite(x)),
    );
    return Object.fromEntries(good) as Record<string, Point>;
  } catch {
    return {};
  }
}
