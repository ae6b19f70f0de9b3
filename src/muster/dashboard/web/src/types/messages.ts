/** What the page's server sends around the rows (docs/api-messages.md). Made by scripts/row_types.py: change the structs. */

import type { CommitRow, ContributionRow, FieldRow, JobRow, LinkRow, LogLine, MarkRow, NodeRow, RoundRow } from "./rows";

/** How the node that is looked at answers. Unless `live`, all rows are as they were at `fresh_t`. */
export interface ViewSource {
  state: "live" | "lost" | "silent"; // silent: it is there but has not answered for 3 s
  since_t: number; // when that began
  fresh_t: number; // when the newest data came from the node; patches and ticks say it again
  reason: string; // a sentence for people; "" while live
}

/** About the view itself. */
export interface Header {
  api: number; // version of this interface
  version: string; // of Muster
  boot: string; // of this server; event ids begin with it
  epoch_s: number; // Unix time at t = 0
  view: string | null; // the node whose view this is
  title: string;
  emulated: boolean;
  role: "operator" | "viewer"; // the reader's own
  source: ViewSource;
  job: string | null; // to show first: the newest that runs, else the newest
  tasks: string[]; // installed on the viewing node
  presets: Preset[]; // of links; empty outside an emulation
}

/** `GET /api/state`, and the event `snapshot`: everything. Tables map an id to a row. */
export interface State {
  t: number; // now, on the feed clock
  id: string; // of the last event that is included
  header: Header;
  nodes: Record<string, NodeRow>;
  links: Record<string, LinkRow>; // by "a|b"
  jobs: Record<string, JobRow>;
  rounds: Record<string, RoundRow>; // by job
  commits: Record<string, CommitRow>;
  contributions: Record<string, ContributionRow>; // by "job/node"
  field: Record<string, FieldRow>; // by "node/task"
  marks: Record<string, MarkRow>;
  log: LogLine[];
}

/** The event `patch`: rows that changed: their changed fields, or all of a new one; null: it is gone. */
export interface Patch {
  t: number;
  fresh_t: number;
  header?: Record<string, unknown>; // fields that changed
  nodes?: Record<string, Record<string, unknown> | null>;
  links?: Record<string, Record<string, unknown> | null>;
  jobs?: Record<string, Record<string, unknown> | null>;
  rounds?: Record<string, Record<string, unknown> | null>;
  commits?: Record<string, Record<string, unknown> | null>;
  contributions?: Record<string, Record<string, unknown> | null>;
  field?: Record<string, Record<string, unknown> | null>;
  marks?: Record<string, Record<string, unknown> | null>;
  log?: LogLine[]; // new lines, to append
}

/** The event `tick`: sent when nothing else was for a second. */
export interface Tick {
  t: number;
  fresh_t: number;
}

/** A kind of link: what a click sets in both directions. */
export interface Preset {
  id: string;
  name: string;
  text: string;
  there: LinkParameters;
  back: LinkParameters;
  drop: Drop | null;
}

/** Parameters of one direction of a link; what is null stays. */
export interface LinkParameters {
  rate_kbit_s: number | null;
  delay_ms: number | null;
  jitter_ms: number | null;
  loss: number | null;
}

/** The link is cut for `for_s` in every `every_s`, first `first_s` from now. */
export interface Drop {
  every_s: number;
  for_s: number;
  first_s: number;
}

/** A commit of a job's history. Nodes are given by name. */
export interface CommitView {
  id: string;
  parents: string[];
  round: number;
  coordinator: string; // name; "" for a merge
  counted: number; // updates folded by this commit
  nodes: string[]; // whose, but for those that stood in for others
  age_s: number; // the job's age at which it was made
  accuracy: number | null; // as `figures` has it
  loss: number | null;
  held: boolean; // this node holds its parameters
  bytes: number; // of its delta, or of the whole parameters where there is none; a merge has none
  bytes_total: number; // sent by all nodes for the job up to here
  joules_total: number | null; // as the job's `joules`, up to here
  predicted: number | null; // the sum of its updates' values; null: not valued (yet)
  drop: number | null; // of the held-out loss by its updates, as evaluated
  figures: Record<string, number>; // by metric; empty until measured
  stand_ins: string[]; // nodes for which the rest of the updates stood in
  pruned_bytes: number | null; // of the model that it leaves, where it prunes
}

/** An update that a commit counted, and its weight in the aggregate. */
export interface CountedView {
  node: string; // name
  incarnation: number;
  sequence: number;
  steps: number;
  examples: number;
  staleness: number;
  weight: number;
  value: number | null; // of the held-out loss that it took away (only of the commit that is shown)
  stands_for: string[]; // names of the nodes in whose place it was trained; none: its own update
}

/** An update that a commit discarded. */
export interface DiscardedView {
  node: string;
  incarnation: number;
  sequence: number;
  reason: string;
}

/** Everything that a commit says. */
export interface CommitDetail {
  job: string;
  task: string;
  commit: CommitView;
  children: string[];
  head: boolean; // nothing that this node holds replaces it
  counted: CountedView[]; // by this commit itself
  counted_in_all: number; // updates, by the whole history up to here
  discarded: DiscardedView[];
  roster: string[]; // names, in rank order
  examples: number; // that the figures were measured on
  params: string | null; // id of the blob; of a merge only once it was computed here
  params_bytes: number;
  delta_bytes: number | null;
  delta_codec: string | null;
  residual_norm: number;
}

/** How far one tensor of b is from that of a. */
export interface MovedView {
  name: string;
  shape: number[];
  norm_a: number; // Euclidean
  moved: number; // norm of b - a
  moved_max: number; // of the absolute difference
}

/** Two commits side by side. `only_a`: updates that the history of a counts, that of b does not. */
export interface DiffView {
  a: CommitView;
  b: CommitView;
  same_job: boolean;
  only_a: CountedView[];
  only_b: CountedView[];
  layers: MovedView[];
  pruned: boolean; // they have other channels: `layers` are of those that both have
}

/** A sample without a label: a picture, or else a text. */
export interface LabelSample {
  id: number;
  width: number;
  height: number;
  channels: number; // 1: grey, 3: red, green, blue
  pixels: string; // base64, a byte each, row after row; "": it is no picture
  text: string; // its numbers, where it is no picture
  answer: number | null; // the class that the model said
  held: boolean | null; // to send back with the label: whether it is held out; null: by lot
}

/** Samples of a task that wait for labels, the least certain first. */
export interface ToLabel {
  task: string;
  classes: string[]; // names, by label; empty: the model does not classify
  samples: LabelSample[];
}
