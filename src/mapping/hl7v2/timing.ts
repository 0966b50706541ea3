/** TQ1 → Timing, of an order of any kind (data type map RPT[Timing], segment maps TQ1[ServiceRequest], TQ1[MedicationRequest]). */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import { timeValue, type JsonObject } from '../fhir-time.js';
import { coding, codingSystem, number } from './datatypes.js';
import { v2Table } from './readers.js';
import type { Reading } from './reading.js';
import type { Slots } from './slots.js';
import { REPEAT_PATTERN } from './tables.js';

/** What is read of a TQ1 for the timing, by field. */
export const TIMING_FIELDS: Readonly<Record<number, string>> = {
  3: 'timing: code (RepeatPattern), period, when, offset',
  4: 'timing: timeOfDay',
  5: 'timing: offset',
  6: 'timing: boundsDuration',
  7: 'timing: boundsPeriod.start',
  8: 'timing: boundsPeriod.end',
  13: 'timing: duration',
  14: 'timing: count',
};

/** Units of time as UCUM has them, by what senders write. */
const UNIT: Readonly<Record<string, string>> = {
  A: 'a',
  ANN: 'a',
  D: 'd',
  DAY: 'd',
  DAYS: 'd',
  H: 'h',
  HOUR: 'h',
  HOURS: 'h',
  HR: 'h',
  M: 'min',
  MIN: 'min',
  MINUTE: 'min',
  MINUTES: 'min',
  MO: 'mo',
  S: 's',
  SEC: 's',
  W: 'wk',
  WEEK: 'wk',
  WK: 'wk',
  YEAR: 'a',
};

const MINUTES: Readonly<Record<string, number>> = { s: 1 / 60, min: 1, h: 60, d: 1440, wk: 10_080 };

/** @param timing slot of the Timing: `occurrenceTiming`, `dosageInstruction[].timing` */
export function readTiming(tq1: Hl7Segment, timing: string, slots: Slots, reading: Reading): void {
  const pattern = patternOf({
    code: tq1.text(3, 1, 1, 1),
    display: tq1.text(3, 1, 1, 2),
    system: codingSystem(tq1.text(3, 1, 1, 3)),
  });
  if (pattern !== undefined) slots.assert[`${timing}.code`] = pattern;
  const put = (name: string, value: string | number | undefined): void => {
    if (value !== undefined) slots.assert[`${timing}.repeat.${name}`] = value;
  };
  const period = number(tq1.text(3, 1, 5));
  const unit = UNIT[tq1.text(3, 1, 6, 1).toUpperCase()];
  if (period !== undefined && unit !== undefined) {
    put('period', period);
    put('periodUnit', unit);
  }
  const when = tq1.text(3, 1, 8);
  if (when !== '') slots.assert[`${timing}.repeat.when`] = [when];
  const times = timesOfDay(tq1);
  if (times.length > 0) slots.assert[`${timing}.repeat.timeOfDay`] = times;
  put('offset', offsetOf(tq1));
  const duration = number(tq1.text(13, 1, 1));
  const durationUnit = UNIT[tq1.text(13, 1, 2, 1).toUpperCase()];
  if (duration !== undefined && durationUnit !== undefined) {
    put('duration', duration);
    put('durationUnit', durationUnit);
  }
  const count = number(tq1.text(14));
  if (count !== undefined && Number.isInteger(count) && count > 0) put('count', count);
  readBounds(tq1, timing, slots, reading);
}

/** A code of HL70335 by concept map RepeatPattern. */
export function patternOf({
  code,
  display,
  system = v2Table('0335'),
}: {
  readonly code: string;
  readonly display: string;
  readonly system?: string | undefined;
}): JsonObject | undefined {
  const sent = coding(code, display, system);
  if (sent === undefined) return undefined;
  const known = system === v2Table('0335') ? REPEAT_PATTERN[code.toUpperCase()] : undefined;
  if (known === undefined) return { coding: [sent] };
  const [mapped, words, target] = known;
  return { coding: [{ system: target!, code: mapped, display: words }, sent] };
}

/** TQ1-4: TM as `time`, which wants seconds. Times of the day are what the guide's TQ1[ServiceRequest] makes of them. */
function timesOfDay(tq1: Hl7Segment): string[] {
  const found: string[] = [];
  for (let repetition = 1; tq1.rawField(4) !== '' && repetition <= tq1.repetitions(4); repetition += 1) {
    const match = /^([01]\d|2[0-3])([0-5]\d)([0-5]\d)?/.exec(tq1.text(4, repetition));
    if (match !== null) found.push(`${match[1]}:${match[2]}:${match[3] ?? '00'}`);
  }
  return found;
}

/** Minutes before or after an event: TQ1-5, else RPT.9 in the units of RPT.10. */
function offsetOf(tq1: Hl7Segment): number | undefined {
  const [value, unit] =
    tq1.text(3, 1, 9) === '' ? [tq1.text(5, 1, 1), tq1.text(5, 1, 2, 1)] : [tq1.text(3, 1, 9), tq1.text(3, 1, 10, 1)];
  const amount = number(value);
  const minutes = MINUTES[UNIT[unit.toUpperCase()] ?? ''];
  if (amount === undefined || minutes === undefined) return undefined;
  const offset = amount * minutes;
  return Number.isInteger(offset) && offset >= 0 ? offset : undefined;
}

/** TQ1-7 and TQ1-8, else how long it goes on (TQ1-6). */
function readBounds(tq1: Hl7Segment, timing: string, slots: Slots, reading: Reading): void {
  const start = reading.time(tq1, 7);
  const end = reading.time(tq1, 8);
  if (start !== undefined) slots.assert[`${timing}.repeat.boundsPeriod.start`] = timeValue(start);
  if (end !== undefined) slots.assert[`${timing}.repeat.boundsPeriod.end`] = timeValue(end);
  if (start !== undefined || end !== undefined) return;
  const value = number(tq1.text(6, 1, 1));
  const unit = UNIT[tq1.text(6, 1, 2, 1).toUpperCase()];
  if (value === undefined || unit === undefined) return;
  const words = tq1.text(6, 1, 2, 2);
  slots.assert[`${timing}.repeat.boundsDuration`] = {
    value,
    unit: words === '' ? unit : words,
    system: 'http://unitsofmeasure.org',
    code: unit,
  };
}
