/**
 * A job's commits as a drawing: each gets a column (time) and a lane (row).
 *
 * A commit goes on with the line of its first parent that has no child yet on that line; otherwise it opens a
 * branch. A lane is free again when its branch was merged away. `branch` numbers lines for colours; 0 is the line
 * that the history began with.
 */

import type { CommitRow } from "../types";

export interface Placed {
  commit: CommitRow;
  column: number;
  lane: number;
  branch: number;
}

export interface Branch {
  number: number;
  commits: Placed[];
  from: Placed | null; // where it forked off
  into: Placed | null; // the merge that took it in
}

export interface Graph {
  placed: Placed[]; // by column
  byId: Map<string, Placed>;
  lanes: number;
  branches: Branch[];
}

export function draw(commits: readonly CommitRow[]): Graph {
  const order = inOrder(commits);
  const byId = new Map<string, Placed>();
  const open = new Map<string, Placed>(); // last commit of each open line, by id
  const lanes: (number | null)[] = []; // which branch holds a lane
  const branches: Branch[] = [];
  order.forEach((commit, column) => {
    const ends = commit.parents.map((id) => open.get(id)).filter((end) => end !== undefined);
    ends.sort((a, b) => a.branch - b.branch);
    const line = ends[0];
    const placed: Placed = line === undefined
      ? opened(commit, column, lanes, branches, byId)
      : { commit, column, lane: line.lane, branch: line.branch };
    if (line !== undefined) {
      branches[line.branch]!.commits.push(placed);
      open.delete(line.commit.id);
    }
    for (const end of ends.slice(1)) {
      branches[end.branch]!.into = placed;
      lanes[end.lane] = null;
      open.delete(end.commit.id);
    }
    open.set(commit.id, placed);
    byId.set(commit.id, placed);
  });
  return { placed: [...byId.values()], byId, lanes: lanes.length, branches };
}

function opened(
  commit: CommitRow, column: number, lanes: (number | null)[], branches: Branch[], byId: Map<string, Placed>,
): Placed {
  const number = branches.length;
  const from = commit.parents.map((id) => byId.get(id)).find((parent) => parent !== undefined) ?? null;
  let lane = lanes.findIndex((holder) => holder === null);
  if (lane < 0) lane = lanes.length;
  lanes[lane] = number;
  const placed = { commit, column, lane, branch: number };
  branches.push({ number, commits: [placed], from, into: null });
  return placed;
}

/** Parents before children, otherwise by the job's age, then by round. */
function inOrder(commits: readonly CommitRow[]): CommitRow[] {
  const sorted = [...commits].sort(
    (a, b) => a.age_s - b.age_s || a.round - b.round || Number(a.merge) - Number(b.merge) || (a.id < b.id ? -1 : 1),
  );
  const known = new Map(sorted.map((commit) => [commit.id, commit]));
  const done = new Set<string>();
  const order: CommitRow[] = [];
  for (const first of sorted) {
    const stack = [first];
    while (stack.length) {
      const commit = stack[stack.length - 1]!;
      const missing = done.has(commit.id) ? [] : commit.parents.filter((id) => known.has(id) && !done.has(id));
      if (missing.length) {
        stack.push(...missing.map((id) => known.get(id)!));
        continue;
      }
      stack.pop();
      if (done.has(commit.id)) continue;
      done.add(commit.id);
      order.push(commit);
    }
  }
  return order;
}

/** The graph of one job, computed again only when its commits changed. */
export class Lanes {
  private key = "";
  private graph: Graph = draw([]);

  of(job: string | null, version: number, commits: Record<string, CommitRow>): Graph {
    const key = `${job} ${version}`;
    if (key !== this.key) {
      this.key = key;
      this.graph = draw(Object.values(commits).filter((commit) => commit.job === job));
    }
    return this.graph;
  }
}
