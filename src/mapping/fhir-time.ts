/** Times inside FHIR content. FHIR R4 wants an offset and seconds with every time of day (R4 §2.24.0.1 dateTime). */
import type { ParsedTime } from '../time/parse.js';
import { daysFromCivil, instantParts, SECONDS_PER_DAY } from '../time/calendar.js';
import type { Json } from './fact.js';

export type JsonObject = { [key: string]: Json };

/** Carries what was sent where FHIR cannot say it: an hour without minutes, a time without offset, a decimal with its zeros. */
export const ORIGINAL_TEXT_URL = 'http://hl7.org/fhir/StructureDefinition/originalText';

/**
 * A time kept in a slot of its own: the text as sent where FHIR can express it, else both. `text` is what the graph shows,
 * `dateTime` what a FHIR resource holds.
 */
export type TimeValue = string | { readonly dateTime: string; readonly text: string };

const TIME_OF_DAY = /^(\d{4})-(\d{2})-(\d{2})T(\d{2})(?::(\d{2})(?::(\d{2})(\.\d+)?)?)?([+-]\d{2}:\d{2}|Z)?/;

/** @returns the time as FHIR R4 `dateTime`, filled up in the zone it was read in; the same text where nothing had to be filled. */
export function fhirDateTime(parsed: ParsedTime): string {
  let value = written.get(parsed);
  if (value === undefined) {
    value = writeDateTime(parsed);
    written.set(parsed, value);
  }
  return value;
}

/** A result message states the same time on each of its lines. */
const written = new WeakMap<ParsedTime, string>();

function writeDateTime(parsed: ParsedTime): string {
  const { precision, text } = parsed;
  if (precision === 'year' || precision === 'month' || precision === 'day') return fhirDate(parsed);
  const match = TIME_OF_DAY.exec(text);
  if (match === null) return parsed.instant;
  const [, year, month, day, hour, minute = '00', second = '00', fraction = '', offset] = match;
  // R4's dateTime has no hour 24; the instant is the same.
  if (hour === '24') return parsed.instant;
  const local = `${year}-${month}-${day}T${hour}:${minute}:${second}${fraction}`;
  if (offset !== undefined) return local + offset;
  const localSeconds =
    daysFromCivil(Number(year), Number(month), Number(day)) * SECONDS_PER_DAY +
    Number(hour) * 3600 +
    Number(minute) * 60 +
    Number(second);
  const east = localSeconds - instantParts(parsed.instant).seconds;
  // Local mean times of long ago have seconds in their offset, which FHIR cannot write.
  if (east % 60 !== 0 || Math.abs(east) > 15 * 3600) return parsed.instant;
  return local + offsetText(east / 60);
}

function offsetText(minutes: number): string {
  if (minutes === 0) return '+00:00';
  const size = Math.abs(minutes);
  const two = (number: number): string => String(number).padStart(2, '0');
  return `${minutes < 0 ? '-' : '+'}${two(Math.trunc(size / 60))}:${two(size % 60)}`;
}

/** The date part, as precise as sent: FHIR R4 `date`. */
export function fhirDate(parsed: ParsedTime): string {
  return parsed.text.replace(/(?:T.*|(?<=\d)[+-]\d{2}:\d{2}(?::\d{2})?|Z)$/, '');
}

/** Writes `target[name]`, with what was sent beside it (`_name`) where it had to be filled up. */
export function putDateTime(target: JsonObject, name: string, parsed: ParsedTime | undefined): void {
  if (parsed === undefined) return;
  const value = fhirDateTime(parsed);
  target[name] = value;
  if (value !== parsed.text) target[`_${name}`] = { extension: [{ url: ORIGINAL_TEXT_URL, valueString: parsed.text }] };
}

/** Writes `target[<name>Period]` where both ends are known, else the beginning as `target[<name>DateTime]`. */
export function putDateTimeOrPeriod(
  target: JsonObject,
  name: string,
  start: ParsedTime | undefined,
  end: ParsedTime | undefined,
): void {
  if (start === undefined || end === undefined) {
    putDateTime(target, `${name}DateTime`, start);
    return;
  }
  const period: JsonObject = {};
  putDateTime(period, 'start', start);
  putDateTime(period, 'end', end);
  target[`${name}Period`] = period;
}

/** FHIR `instant` where one is wanted (`issued`, `recorded`): filled up to seconds. */
export function putInstant(target: JsonObject, name: string, parsed: ParsedTime | undefined): void {
  if (parsed === undefined) return;
  const value = parsed.text.length > 10 ? fhirDateTime(parsed) : parsed.instant;
  target[name] = value;
  if (value !== parsed.text) target[`_${name}`] = { extension: [{ url: ORIGINAL_TEXT_URL, valueString: parsed.text }] };
}

/** A time as the value of a slot of its own. */
export function timeValue(parsed: ParsedTime): Json {
  const dateTime = fhirDateTime(parsed);
  return dateTime === parsed.text ? dateTime : { dateTime, text: parsed.text };
}

/** What the graph shows of a time slot: as sent. Undefined for anything that is no time slot. */
export function timeText(value: Json | undefined): string | undefined {
  if (typeof value === 'string') return value;
  if (value !== null && typeof value === 'object' && !Array.isArray(value) && typeof value['text'] === 'string')
    return value['text'];
  return undefined;
}

/** Writes a time slot into a FHIR element. */
export function putTimeValue(target: JsonObject, name: string, value: Json | undefined): void {
  if (typeof value === 'string') {
    target[name] = value;
    return;
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return;
  const { dateTime, text } = value;
  if (typeof dateTime !== 'string') return;
  target[name] = dateTime;
  if (typeof text === 'string') target[`_${name}`] = { extension: [{ url: ORIGINAL_TEXT_URL, valueString: text }] };
}

/** A FHIR element that is a time, as sent: the original where there is one, else the value. */
export function sentTime(resource: { readonly [name: string]: Json }, name: string): string | undefined {
  const beside = resource[`_${name}`];
  if (beside !== null && typeof beside === 'object' && !Array.isArray(beside) && Array.isArray(beside['extension'])) {
    for (const extension of beside['extension']) {
      if (extension === null || typeof extension !== 'object' || Array.isArray(extension)) continue;
      if (extension['url'] === ORIGINAL_TEXT_URL && typeof extension['valueString'] === 'string')
        return extension['valueString'];
    }
  }
  const value = resource[name];
  return typeof value === 'string' ? value : undefined;
}
