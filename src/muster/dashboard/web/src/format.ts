/** Numbers for people. */

const UNITS: readonly [number, string][] = [
  [1e12, "TB"],
  [1e9, "GB"],
  [1e6, "MB"],
  [1e3, "kB"],
];

function three(value: number): string {
  if (value >= 99.95) return value.toFixed(0);
  if (value >= 9.995) return value.toFixed(1).replace(/\.0$/, "");
  return value.toFixed(2).replace(/\.?0+$/, "");
}

export function bytes(value: number | null | undefined): string {
  if (value === null || value === undefined) return "–";
  for (const [size, unit] of UNITS) if (value >= size * 0.9995) return `${three(value / size)} ${unit}`;
  return `${Math.round(value)} B`;
}

/** Joules as `0.25 J`, `831 J`, `12.3 kJ`; nothing where nobody knows what it draws. */
export function joules(value: number | null | undefined): string {
  if (value === null || value === undefined) return "–";
  for (const [size, unit] of [[1e9, "GJ"], [1e6, "MJ"], [1e3, "kJ"]] as const) {
    if (value >= size * 0.9995) return `${three(value / size)} ${unit}`;
  }
  return `${three(value)} J`;
}

/** `bits_s` in bits a second. */
export function rate(bits_s: number | null | undefined): string {
  if (bits_s === null || bits_s === undefined) return "–";
  if (bits_s >= 999_500) return `${three(bits_s / 1e6)} Mbit/s`;
  if (bits_s >= 999.5) return `${three(bits_s / 1e3)} kbit/s`;
  return `${Math.round(bits_s)} bit/s`;
}

export function percent(part: number | null | undefined, digits = 1): string {
  return part === null || part === undefined || !Number.isFinite(part) ? "–" : `${(part * 100).toFixed(digits)} %`;
}

export function figure(value: number | null | undefined, digits = 3): string {
  return value === null || value === undefined || !Number.isFinite(value) ? "–" : value.toFixed(digits);
}

export function count(value: number | null | undefined): string {
  return value === null || value === undefined ? "–" : value.toLocaleString("en-GB");
}

/** Seconds as `0.4 s`, `12 s`, `3:05`, `2:03:05`. */
export function span(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  const s = Math.max(0, seconds);
  if (s < 9.95) return `${s.toFixed(1)} s`;
  if (s < 59.5) return `${Math.round(s)} s`;
  const whole = Math.round(s);
  const two = (n: number) => String(n).padStart(2, "0");
  const minutes = Math.floor(whole / 60) % 60;
  const hours = Math.floor(whole / 3600);
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

/** A wall time as `14:03:22`; `time_s` is seconds since 1970. */
export function clock(time_s: number): string {
  return new Date(time_s * 1000).toLocaleTimeString("en-GB", { hour12: false });
}

export function plural(n: number, one: string, many = `${one}s`): string {
  return `${n} ${n === 1 ? one : many}`;
}
