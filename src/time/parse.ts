/**
 * Reading times as senders write them. Precision and offset stay exactly as sent (`text`); beside them stands the instant
 * of the start of what was said. Anything that is not a time is `undefined`; nothing here throws.
 */
import { daysFromCivil, daysInMonth, formatInstant, SECONDS_PER_DAY } from './calendar.js';
import { Remembered } from '../text/remembered.js';
import type { Instant, TimeFlag, ValidTime } from './valid-time.js';
import { localToInstant } from './zone.js';

export type TimePrecision = 'year' | 'month' | 'day' | 'hour' | 'minute' | 'second' | 'fraction';

export interface ParsedTime {
  /** The start of what was said. Digits of a fraction beyond the sixth are cut, not rounded: rounding could lie in the future. */
  readonly instant: Instant;
  /** ISO form with the precision and the offset as sent. */
  readonly text: string;
  readonly precision: TimePrecision;
  readonly hasOffset: boolean;
  readonly flags: readonly TimeFlag[];
}

export interface TimeOptions {
  /** IANA zone of times that state no offset. */
  readonly timeZone: string;
}

const PRECISIONS: readonly TimePrecision[] = ['year', 'month', 'day', 'hour', 'minute', 'second', 'fraction'];

/** Longer text is no time; it bounds the work on hostile input. */
const LONGEST_TIME_CHARACTERS = 128;

const HL7_FORM = /^(\d{4})(?:(\d{2})(?:(\d{2})(?:(\d{2})(?:(\d{2})(?:(\d{2})(?:\.(\d+))?)?)?)?)?)?([+-]\d{4}|[Zz])?$/;
/** HL7 v2.3–2.7 TS.2: the degree of precision of TS.1 (table 0529, withdrawn in v2.8). */
const HL7_DEGREE = /^(.*?)\s*\^\s*([YLDHMS]?)\s*$/;
const DEGREES: Readonly<Record<string, number>> = { Y: 1, L: 2, D: 3, H: 4, M: 5, S: 6 };
const ISO_FORM =
  /^(\d{4})(?:-(\d{2})(?:-(\d{2})(?:[Tt ](\d{2})(?::(\d{2})(?::(\d{2})(?:\.(\d+))?)?)?([+-]\d{2}:\d{2}(?::\d{2})?|[Zz])?)?)?)?$/;

/**
 * HL7 v2 DTM, TS and DT: `YYYY[MM[DD[HH[MM[SS[.S…]]]]]][±ZZZZ]` (HL7 v2.9 §2.A.22), with the degree of precision that TS
 * had in its second component. ISO 8601 with dashes, which the standard does not know and real senders use, is read too.
 * @returns undefined where the text is not a time
 */
export function parseHl7Time(text: string, options: TimeOptions): ParsedTime | undefined {
  if (text.length > LONGEST_TIME_CHARACTERS) return undefined;
  return times.get(`${options.timeZone}|${text}`, () => readHl7Time(text, options));
}

/** Times that are kept: a message states one in several places, and a day's birth dates are many people's. */
const KEPT_TIMES = 2_048;
const times = new Remembered<ParsedTime | undefined>(KEPT_TIMES);

function readHl7Time(text: string, options: TimeOptions): ParsedTime | undefined {
  let sent = text.trim();
  let limit = PRECISIONS.length;
  if (sent.includes('^')) {
    const degree = HL7_DEGREE.exec(sent);
    if (degree === null) return undefined;
    sent = degree[1]!;
    limit = DEGREES[degree[2]!] ?? limit;
  }
  const match = HL7_FORM.exec(sent) ?? ISO_FORM.exec(sent);
  return match === null ? undefined : build(match, limit, options);
}

/**
 * FHIR R4 `date`, `dateTime` and `instant`, RFC 3339, and their forms cut short (`2026`, `2026-03`, `2026-03-01T10:15`).
 * @returns undefined where the text is not a time
 */
export function parseIsoTime(text: string, options: TimeOptions): ParsedTime | undefined {
  if (text.length > LONGEST_TIME_CHARACTERS) return undefined;
  const match = ISO_FORM.exec(text);
  return match === null ? undefined : build(match, PRECISIONS.length, options);
}

function build(match: RegExpExecArray, limit: number, { timeZone }: TimeOptions): ParsedTime | undefined {
  const parts = match.slice(1, 8);
  let count = 1;
  while (count < 7 && parts[count] !== undefined) count += 1;
  count = Math.min(count, limit);
  const part = (index: number, otherwise: number): number => (index < count ? Number(parts[index]) : otherwise);
  const year = part(0, 1);
  const month = part(1, 1);
  const day = part(2, 1);
  const hour = part(3, 0);
  const minute = part(4, 0);
  const second = part(5, 0);
  const fraction = count > 6 ? parts[6]! : '';
  const micros = Number(fraction.slice(0, 6).padEnd(6, '0'));
  if (year < 1 || month < 1 || month > 12 || day < 1 || day > daysInMonth(year, month)) return undefined;
  if (minute > 59 || second > 60 || hour > 24) return undefined;
  // ISO 8601 §5.3.2: 24:00:00 is the end of a day, the same instant as 00:00 of the next.
  if (hour === 24 && (minute > 0 || second > 0 || /[1-9]/.test(fraction))) return undefined;

  const local = daysFromCivil(year, month, day) * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second;
  const flags: TimeFlag[] = [];
  const offset = match[8];
  let seconds: number;
  if (offset === undefined) {
    const found = localToInstant(local, timeZone);
    if (found === undefined) return undefined;
    seconds = found.seconds;
    if (found.flag !== undefined) flags.push(found.flag);
    flags.push('NO_OFFSET');
  } else {
    const east = offsetSeconds(offset);
    if (east === undefined) return undefined;
    seconds = local - east;
  }
  // A leap second is 23:59:60 UTC (RFC 3339 §5.7) and becomes the first second of the next day; some clocks show it at local midnight.
  if (second === 60 && seconds % SECONDS_PER_DAY !== 0 && local % SECONDS_PER_DAY !== 0) return undefined;
  if (count < 6) flags.push('PARTIAL');
  const instant = formatInstant(seconds, micros);
  if (instant === undefined) return undefined;
  return {
    instant,
    text: isoText(parts.slice(0, count), offset),
    precision: PRECISIONS[count - 1]!,
    hasOffset: offset !== undefined,
    flags,
  };
}

const SEPARATORS = ['', '-', '-', 'T', ':', ':', '.'] as const;

function isoText(parts: readonly (string | undefined)[], offset: string | undefined): string {
  let text = '';
  parts.forEach((part, index) => {
    text += SEPARATORS[index]! + part!;
  });
  if (offset === undefined) return text;
  if (offset.length === 1) return `${text}Z`;
  return text + (offset.includes(':') ? offset : `${offset.slice(0, 3)}:${offset.slice(3)}`);
}

/** Seconds east of UTC; undefined where no clock on earth ever was so far from it. */
function offsetSeconds(offset: string): number | undefined {
  if (offset.length === 1) return 0;
  const digits = offset.slice(1).replaceAll(':', '');
  const hours = Number(digits.slice(0, 2));
  const minutes = Number(digits.slice(2, 4));
  const seconds = Number(digits.slice(4));
  if (hours > 15 || minutes > 59 || seconds > 59) return undefined;
  const size = hours * 3600 + minutes * 60 + seconds;
  return offset.startsWith('-') ? -size : size;
}

/** A parsed time as valid time, naming the field it came from (`EVN-6`, `OBX-14`, `effectiveDateTime`). */
export function validTime(parsed: ParsedTime, field: string): ValidTime {
  return { instant: parsed.instant, text: parsed.text, field, flags: parsed.flags };
}

/** Valid time of something that said none: when it arrived. */
export function arrivalTime(recordedAt: Instant): ValidTime {
  return { instant: recordedAt, text: recordedAt, field: 'ARRIVAL', flags: ['ARRIVAL'] };
}
