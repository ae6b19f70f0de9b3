/** The rows of the page's tables (docs/api-rows.md). Made by scripts/row_types.py: change the structs. */

/** What a node offered for the job that is shown first. */
export interface OfferRow {
  samples: number;
  step_s: number; // seconds a training step
  battery: number | null;
  available_s: number | null; // how long it wants to take part
}

/** What a node's owner lets others use yet of today; null: no limit. */
export interface LeftRow {
  bytes: number | null; // whole kB
  joules: number | null;
  until_t: number | null; // when the hours end in which it works for others; known of the viewing node itself
  why: string; // it does nothing for others now
}

/** What a node shared of its data with a job that the viewing node has in memory. */
export interface SharedRow {
  job: string;
  kind: string; // samples, medoids, means or robust: only means tell of no single sample
  samples: number;
  bytes: number;
}

/** A node's part in the round in progress. */
export interface NodePlanRow {
  round: number;
  steps: number;
  codec: string;
  deadline_t: number | null;
}

/** A task that a node has opened since its start. */
export interface TaskRow {
  name: string;
  version: string;
  samples: number;
  parameters: number;
  error: string | null; // why it cannot be trained there
}

/** What a node says of its own process. */
export interface ResourcesRow {
  version: string;
  began_t: number; // when its process started
  memory_bytes: number; // resident
  disk_bytes: number; // of its store
  home: string;
  pid: number;
  listen: string[]; // addresses
}

/** What an emulated node says of itself now; its heartbeats take longer to arrive. */
export interface SelfReport {
  state: string;
  progress: number;
}

/** What the emulator knows of a node. */
export interface EmulatedRow {
  address: string;
  process: "ended" | "paused" | "running" | "starting";
  away: boolean; // its radio is off
  slowdown: number; // of its processor, 1: none
  says: SelfReport | null; // null: it does not answer
}

/** A member of the fleet, as the viewing node knows it by its heartbeats. */
export interface NodeRow {
  id: string;
  name: string;
  key: string | null; // 64 hex digits
  me: boolean; // the viewing node itself
  state: string; // idle, preparing, receiving, training, sending, coordinating, leaving, blocked (its disk is full), cloned (another process uses its bundle), unknown (never heard); in an emulation also starting, away, paused, gone (its process ended)
  progress: number;
  heard_t: number | null; // when its last heartbeat came; null of the viewing node itself: do not fade it
  reachable: boolean; // in contact, perhaps over others
  battery: number | null;
  power: PowerView | null; // of the viewing node as it is, else by its offer
  step_s: number | null; // seconds a training step, by its offer
  samples: number | null;
  job: string | null; // that it works for
  round: number | null;
  offer: OfferRow | null; // this and the next two: about the job that is shown first
  refusal: string | null; // why it does not take part
  plan: NodePlanRow | null;
  resources: ResourcesRow | null; // of the viewing node; in an emulation of every node that answers
  tasks: TaskRow[]; // as `resources`
  health: string[] | null; // as `resources`: a sentence for each loop that is not well or failed in the last ten minutes
  refused: number; // records of its making that the viewing node refused since it started: they cannot be
  cut_off: boolean; // it made or sent so many that the viewing node does not hear it for some minutes
  shared: SharedRow[]; // with whom it shared samples of its data
  left: LeftRow | null; // of others by their last answer to a job; null: no limit is known
  emulated: EmulatedRow | null; // null outside an emulation
}

/** The server of a task on the viewing node, by what it said last. */
export interface ServerRow {
  url: string;
  requests: number; // answered since it began
  failures: number; // answered with an error of the server or the model
  refused: number; // too many at once
  rps: number; // requests a second
  p99_ms: number | null;
  memory_mb: number;
  kept: number; // samples since it began
  fault: string; // why the model in use does not answer, or why no samples are kept; "": all is well
}

/** A model in use: of the viewing node by its files, of others by what they said last (docs/field.md). */
export interface FieldRow {
  node: string; // as in the table of nodes
  task: string;
  version: string | null; // null: no model is in use
  commit: string | null; // null: the model is no commit, such as a file, or a fine-tuned one
  reason: string; // first, adopted, forced, returned or rolled back
  since_t: number | null; // when it went into use, as far as that is known
  former: string | null; // what was in use before
  live_labels: number; // that came since
  live_right: number; // of them
  held_labels: number; // held out; on which it was compared with the model before it
  wins: number; // of them: right by this model alone
  losses: number; // by the former one alone
  epoch: number | null; // conditions by their number, 0 at first
  labels: number | null; // of this epoch
  labels_wanted: number; // more, which would change something; known of the viewing node
  need: string; // "": none, "open": the model fails there, "met": a model was found
  alike: string[]; // names of other nodes to which the same happened
  waits: string; // what the viewing node waits for, as a sentence
  job: string | null; // the adapt job that it waits for
  server: ServerRow | null; // of the viewing node, while its server runs
}

/** One direction of a link. Outside an emulation what the emulator would know is null. */
export interface LinkDirection {
  up: boolean;
  rate_kbit_s: number | null;
  delay_ms: number | null;
  jitter_ms: number | null;
  loss: number | null; // with `burst`: between bursts
  burst: boolean; // loss comes in bursts, too
  bytes: number; // carried: counted at the emulator with headers, else the application's
  bytes_s: number; // mean of the last 3 s
  lost_frames: number | null;
}

/** A link that is cut again and again. */
export interface DropRow {
  every_s: number;
  for_s: number;
  first_s: number; // after it was set
}

/** A link: all of an emulated network; else those of the viewing node, which is then `a`. */
export interface LinkRow {
  id: string;
  a: string;
  b: string;
  emulated: boolean;
  up: boolean; // in both directions
  quality: number | null; // (1 - loss)^4 * 200 / (200 + delay_ms) of the worse direction (outside an emulation: delay = half of `rtt_s`, no loss), 0 when down; above 0.6 good, above 0.3 fair, else poor
  rtt_s: number | null; // this and the next: measured, of the viewing node's links
  goodput_bytes_s: number | null;
  up_t: number; // since when it is up
  preset: string | null; // set last, until a parameter is changed by hand
  drop: DropRow | null;
  there: LinkDirection; // a to b
  back: LinkDirection; // b to a
}

/** When a job ends: at the first of these. */
export interface StopRow {
  rounds: number | null;
  target: number | null;
  metric: string | null; // that the target is of
  stale: number | null; // rounds in a row in which the first metric got no better
  seconds: number | null;
  bytes: number | null; // sent by all nodes
  bytes_node: number | null; // by any one node: who has spent it is asked for no more
  joules: number | null; // used by all nodes
  joules_node: number | null;
}

/** A job that the viewing node knows. */
export interface JobRow {
  id: string;
  task: string;
  asker: string; // node
  adapts_for: string[] | null; // nodes with a like need that take part; null: it is a job for all
  state: string; // waiting, running, finished, stopped, failed
  why: string; // one sentence: what it is doing or waiting for
  round: number; // of the head
  head: string; // commit; "" before the starting parameters are there
  heads: string[]; // all that this node knows: several while the network is divided
  coordinator: string | null; // node
  metrics: Record<string, string>; // name -> max or min; the first is what the job is judged by
  figures: Record<string, number>; // of the head, by metric; empty until measured
  measured_examples: number;
  began_t: number | null; // by the job's own age
  age_s: number; // at the head
  spent_bytes: number; // sent by all nodes for it
  budgets: BudgetView[]; // what is limited; of nodes those that spent most first
  joules: number | null; // used by all nodes for it; null: none of them knows what it draws
  model_bytes: number;
  stop: StopRow;
  recipe: Record<string, number | string>; // lr, batch, steps, codec, ...
  values: ValuesView | null; // null before the first round
  waits: string[]; // what it waits for, and who takes no part and why
  error: string | null;
}

/** One node's part in the round in progress. */
export interface RoundPart {
  phase: "in" | "receive" | "send" | "train" | "wait"; // wait: nothing says that it has begun; in: its update has arrived
  progress: number; // of the phase
  steps: number;
  codec: string;
  expected_t: number | null; // when its steps are done, by measured speed
}

/** What is trained in the round in progress in the place of a node that misses it. */
export interface StandInPart {
  trainer: string; // node
  phase: "in" | "receive" | "send" | "train" | "wait";
  progress: number; // of the phase
  steps: number;
}

/** The round in progress of a running job; absent between rounds. */
export interface RoundRow {
  job: string;
  round: number;
  parent: string; // commit
  coordinator: string; // node
  begun_t: number;
  deadline_t: number;
  expected_t: number | null; // the latest of those still out
  arrived: number; // updates
  why: string; // the plan in a sentence
  nodes: Record<string, RoundPart>;
  stand_ins: Record<string, StandInPart>; // by the node that misses the round
}

/** A commit of a job's history; the newest 5000 of a job are kept. */
export interface CommitRow {
  id: string;
  job: string;
  parents: string[]; // none: the root; two: a merge; older ones may be missing
  round: number;
  merge: boolean;
  coordinator: string | null; // node; null for a merge
  counted: number; // updates folded in by this commit
  nodes: string[]; // whose, at most 16, but for those that stood in for others
  stand_ins: string[]; // nodes for which the rest of the updates stood in, at most 16
  age_s: number; // the job's age
  bytes: number; // that a node at the parent downloads
  model_bytes: number | null; // of the whole model, uncompressed; null of a merge
  bytes_total: number; // sent by all nodes for the job up to here
  joules: number | null; // as in the job's row, up to here
  discarded: number; // updates
  figures: Record<string, number>; // by metric; empty until measured
  held: boolean; // the viewing node holds its parameters
  predicted: number | null; // sum of the values of this round's updates
  drop: number | null; // of the held-out loss by them, as evaluated
}

/** What one node gave to a job, by the head's history. */
export interface ContributionRow {
  id: string;
  job: string;
  node: string;
  samples: number;
  steps: number; // in counted updates
  examples: number;
  counted: number; // updates of its own
  stood_in: number; // updates that others trained on its shared samples in its place
  waiting: number; // updates that no commit has counted yet
  late: number; // counted with an age of one round or more (part of `counted`)
  refused: number;
  reasons: Record<string, number>; // of the refused
  share: number; // of all examples in counted updates
  sent_bytes: number; // of its updates
  received_bytes: number; // of models that it got in the rounds that counted it
  joules: number | null; // that its counted updates say; null: it does not know what it draws
  value: number | null; // first-order Shapley value on held-out data over all rounds so far: nats of loss that its updates took away (negative: harm)
  value_share: number | null; // of the sum of all nodes' absolute values, -1..1
}

/** Something that happened, for the curves; the newest 500. */
export interface MarkRow {
  id: string;
  kind: string; // cut, heal, partition, link, leave, join, kill, pause, resume, restart, handover, merge; use, unuse: a model of the job went into use, or out of it again
  t: number;
  job: string | null;
  age_s: number | null; // of the job then
  nodes: string[];
  text: string;
}

/** A line of the log; the newest 500, oldest first. */
export interface LogLine {
  n: number; // grows by one
  t: number;
  kind: string; // job, offer, plan, training, update, commit, merge, wait, peer, link, energy, fault, error, end, page
  text: string;
  node: string | null;
  job: string | null;
}

/** What a node draws, as it says itself: by a meter, or by a model where its owner gave one. */
export interface PowerView {
  idle_w: number;
  train_w: number; // while it trains, the idle watts included
  sent_j_byte: number; // joules of its radio for a byte sent, and so on; 0: none, or in the watts
  received_j_byte: number;
  exchange_j: number; // from the last byte until the radio sleeps again
}

/** The check of the nodes' values: what they add up to, against how far the held-out loss really fell. */
export interface ValuesView {
  rounds: number; // in the head's history, with updates in them
  valued: number; // of these; the figures below are of the valued ones
  predicted: number; // sum of all values
  drop: number; // of the mean held-out loss by the rounds' updates, as evaluated
  examples: number; // held-out samples
  common: boolean; // the task's own evaluation set; else what the coordinators hold out of their own data
}

/** A limit of a job in time, bytes or energy, and what was spent of it. */
export interface BudgetView {
  resource: string; // seconds | bytes | joules
  spent: number; // up to the head
  limit: number;
  node: string | null; // name of the node whose part this is; null: of all nodes together
}
