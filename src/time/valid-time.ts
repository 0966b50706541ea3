/** Times as the hub carries them: exact instants as text with microseconds, and what the source said beside them. Never a JS Date. */

/** `YYYY-MM-DDTHH:MM:SS.ffffffZ`, always 27 characters for years 0001…9999, so that text order is time order. */
export type Instant = string;

export type TimeFlag =
  /** The local time stands twice on the clock that day; the earlier instant was taken. */
  | 'FOLD'
  /** The local time stands nowhere on the clock that day; it was moved forward by the gap. */
  | 'GAP'
  /** No offset was sent; the source's zone was taken. */
  | 'NO_OFFSET'
  /** Less precise than a second was sent; the instant is the start of what was said. */
  | 'PARTIAL'
  /** Nothing usable was sent; the time of arrival (recordedAt) was taken. */
  | 'ARRIVAL';

/** A point on the valid axis, with everything the source said about it. */
export interface ValidTime {
  readonly instant: Instant;
  /** As precise as it was sent, ISO form: `2026`, `2026-03`, `2026-03-01`, `2026-03-01T10`, `…T10:15`, `…T10:15:30.1234+01:00`. */
  readonly text: string;
  /** The field it came from: `EVN-6`, `OBX-14`, `ts`, `effectiveDateTime`, or `ARRIVAL`. */
  readonly field: string;
  readonly flags: readonly TimeFlag[];
}
