/** All shapes of the API. Both files are made from the structs that the server sends (scripts/row_types.py). */

export type * from "./messages";
export type * from "./rows";
