/** The map's style sheet, by how many nodes there are. */

import type cytoscape from "cytoscape";
import { theme } from "../theme";

/** Radius of a node in pixels. */
export function radius(count: number): number {
  if (count <= 12) return 21;
  if (count <= 30) return 16;
  return count <= 60 ? 11 : 7;
}

export function styles(count: number): cytoscape.StylesheetJson {
  const colours = theme();
  const r = radius(count);
  const small = count > 60;
  const sheet = [
    {
      selector: "node",
      style: {
        width: 2 * r,
        height: 2 * r,
        "background-color": "data(fill)",
        "background-image": "data(sign)",
        "background-width": `${Math.round(r * 1.05)}px`,
        "background-height": `${Math.round(r * 1.05)}px`,
        "background-image-containment": "over",
        "pie-size": "100%",
        "pie-hole": small ? "62%" : "80%",
        "pie-1-background-color": "data(tone)",
        "pie-1-background-size": "data(battery)",
        "pie-2-background-color": colours.track,
        "pie-2-background-size": "data(rest)",
        "border-width": small ? 1 : 3,
        "border-style": "data(border)",
        "border-color": "data(edge)",
        opacity: "data(opacity)",
        label: small ? "" : "data(label)",
        color: colours.text,
        "font-family": "Inter Variable, system-ui, sans-serif",
        "font-size": count <= 30 ? 12.5 : 11,
        "font-weight": 500,
        "text-valign": "bottom",
        "text-margin-y": 5,
        "text-outline-color": colours.panel,
        "text-outline-width": 3,
        "text-max-width": "110px",
        "text-wrap": "ellipsis",
        "overlay-opacity": 0,
      },
    },
    {
      selector: "edge",
      style: {
        width: "data(width)",
        "line-color": "data(tone)",
        "line-style": "data(line)",
        "line-dash-pattern": [5, 6],
        "line-opacity": "data(fade)",
        "curve-style": small ? "haystack" : "straight",
        "haystack-radius": 0,
        "overlay-padding": 7,
        "overlay-opacity": 0,
      },
    },
    { selector: "node.near", style: { label: "data(label)", "z-index": 10 } },
    {
      selector: "node:selected",
      style: { label: "data(label)", "underlay-color": colours.blue, "underlay-opacity": 0.35, "underlay-padding": small ? 4 : 6, "underlay-shape": "ellipse", "z-index": 11 },
    },
    { selector: "edge:selected", style: { "underlay-color": colours.blue, "underlay-opacity": 0.35, "underlay-padding": 4, "line-opacity": 1 } },
    { selector: ":active", style: { "overlay-opacity": 0 } },
  ];
  return sheet as unknown as cytoscape.StylesheetJson;
}

const images = new Map<string, string>();

/** A node's sign as an image; a few dozen exist in all. */
export function signImage(path: string, colour: string): string {
  if (path === "") return "none";
  const key = path + colour;
  let image = images.get(key);
  if (image === undefined) {
    const markup =
      `<svg xmlns="http://www.w3.org/2000/svg" width="48" height="48" viewBox="0 0 24 24" fill="none" stroke="${colour}" ` +
      `stroke-width="2.4" stroke-linecap="round" stroke-linejoin="round"><path d="${path}"/></svg>`;
    image = `data:image/svg+xml;utf8,${encodeURIComponent(markup)}`;
    images.set(key, image);
  }
  return image;
}
