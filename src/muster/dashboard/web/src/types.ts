/** The API's shapes (docs/api.md). `*_t` are seconds on the feed clock. */

export interface Source {
  state: "live" | "silent" | "lost";
  since_t: number;
  fresh_t: number;
  words: string;
}

export interface Shape {
  rate_kbit_s: number | null;
  delay_ms: number | null;
  jitter_ms: number | null;
  loss: number | null;
}

export interface Drop {
  every_s: number;
  for_s: number;
  first_s: number;
}

export interface Preset {
  id: string;
  name: string;
  text: string;
  there: Partial<Shape>;
  back: Partial<Shape>;
  drop: Drop | null;
}

export interface Header {
  api: number;
  version: string;
  boot: string;
  epoch_s: number;
  view: string | null;
  title: string;
  emulated: boolean;
  role: "operator" | "viewer";
  source: Source;
  job: string | null;
  tasks: string[];
  presets: Preset[];
}

export interface NodeRow {
  id: string;
  name: string;
  key: string | null;
  me: boolean;
  state: string;
  progress: number | null;
  heard_t: number | null;
  reachable: boolean;
  battery: number | null;
  step_s: number | null;
  samples: number | null;
  job: string | null;
  round: number | null;
  offer: { samples: number; step_s: number; battery: number | null; available_s: number | null } | null;
  refusal: string | null;
  plan: { round: number; steps: number; codec: string; deadline_t: number | null } | null;
  resources: {
    version: string;
    began_t: number | null;
    memory_bytes: number | null;
    disk_bytes: number | null;
    home: string;
    pid: number;
    listen: string[];
  } | null;
  tasks: { name: string; version: string; samples: number | null; parameters: number | null; error: string | null }[];
  emulated: { address: string; process: string; away: boolean; slowdown: number } | null;
}

export interface Way extends Shape {
  up: boolean;
  burst: boolean;
  bytes: number;
  bytes_s: number;
  lost_frames: number | null;
}

export interface LinkRow {
  id: string;
  a: string;
  b: string;
  emulated: boolean;
  up: boolean;
  quality: number | null;
  rtt_s: number | null;
  goodput_bytes_s: number | null;
  up_t: number | null;
  preset: string | null;
  drop: Drop | null;
  there: Way;
  back: Way;
}

export interface JobRow {
  id: string;
  task: string;
  asker: string;
  state: "waiting" | "running" | "finished" | "stopped" | "failed";
  why: string;
  round: number;
  head: string | null;
  heads: string[];
  coordinator: string | null;
  accuracy: number | null;
  loss: number | null;
  measured_examples: number | null;
  began_t: number;
  age_s: number;
  spent_bytes: number;
  model_bytes: number | null;
  stop: { rounds: number | null; target: number | null; seconds: number | null; bytes: number | null };
  recipe: { lr: number; batch: number; steps: number; codec: string };
  values: { rounds: number; valued: number; predicted: number; drop: number; examples: number; common: boolean } | null;
  error: string | null;
}

export interface RoundPart {
  phase: "wait" | "receive" | "train" | "send" | "in";
  progress: number | null;
  steps: number;
  codec: string;
  expected_t: number | null;
}

export interface RoundRow {
  job: string;
  round: number;
  parent: string;
  coordinator: string | null;
  begun_t: number;
  deadline_t: number | null;
  expected_t: number | null;
  arrived: number;
  why: string;
  nodes: Record<string, RoundPart>;
}

export interface CommitRow {
  id: string;
  job: string;
  parents: string[];
  round: number;
  merge: boolean;
  coordinator: string | null;
  counted: number;
  nodes: string[];
  age_s: number;
  accuracy: number | null;
  loss: number | null;
  held: boolean;
  bytes: number | null;
  bytes_total: number | null;
  discarded: number;
  residual_norm: number;
  predicted: number | null;
  drop: number | null;
}

export interface ContributionRow {
  id: string;
  job: string;
  node: string;
  samples: number | null;
  steps: number;
  examples: number;
  counted: number;
  waiting: number;
  late: number;
  refused: number;
  reasons: Record<string, number>;
  share: number;
  sent_bytes: number | null;
  received_bytes: number | null;
  value: number | null;
  value_share: number | null;
}

export interface MarkRow {
  id: string;
  kind: string;
  t: number;
  job: string | null;
  age_s: number | null;
  nodes: string[];
  text: string;
}

export interface LogLine {
  n: number;
  t: number;
  kind: string;
  text: string;
  node: string | null;
  job: string | null;
}

export type Table<Row> = Record<string, Row>;

export interface Tables {
  nodes: Table<NodeRow>;
  links: Table<LinkRow>;
  jobs: Table<JobRow>;
  rounds: Table<RoundRow>;
  commits: Table<CommitRow>;
  contributions: Table<ContributionRow>;
  marks: Table<MarkRow>;
}

export interface Snapshot extends Tables {
  t: number;
  id: string;
  header: Header;
  log: LogLine[];
}

export interface Patch {
  t: number;
  fresh_t?: number;
  header?: Partial<Header>;
  log?: LogLine[];
  [table: string]: unknown;
}

export interface CommitDetail {
  job: string;
  task: string;
  commit: CommitRow;
  children: string[];
  head: boolean;
  counted: Counted[];
  counted_in_all: number;
  discarded: { node: string; incarnation: number; sequence: number; reason: string }[];
  roster: string[];
  examples: number | null;
  params_bytes: number | null;
  delta_bytes: number | null;
  delta_codec: string | null;
}

export interface Counted {
  node: string;
  incarnation: number;
  sequence: number;
  steps: number;
  examples: number;
  staleness: number;
  weight: number;
}

export interface Diff {
  a: CommitRow;
  b: CommitRow;
  same_job: boolean;
  only_a: Counted[];
  only_b: Counted[];
  layers: { name: string; shape: number[]; norm_a: number; moved: number; moved_max: number }[];
}
