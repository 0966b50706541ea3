/** RFC 3339 date-times as clients write them, to Instants and back to microseconds; nothing goes through a JS Date with its milliseconds. */
import { microsecondsOf } from '../../database/binary-copy.js';
import type { Instant } from '../../time/valid-time.js';

const RFC3339 = /^(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:[.,](\d+))?([Zz]|[+-]\d\d:\d\d)$/;
const SECOND_US = 1_000_000n;
const FIRST_US = microsecondsOf('0001-01-01T00:00:00Z');
const LAST_US = microsecondsOf('9999-12-31T23:59:59.999999Z');

/** An Instant of microseconds since 1970. */
export function instantOfMicroseconds(microseconds: bigint): Instant {
  const fraction = ((microseconds % SECOND_US) + SECOND_US) % SECOND_US;
  const seconds = Number((microseconds - fraction) / SECOND_US);
  const text = new Date(seconds * 1000).toISOString();
  return `${text.slice(0, 19)}.${fraction.toString().padStart(6, '0')}Z`;
}

/**
 * A date-time with any offset, as an Instant. Digits beyond microseconds are cut, so that nothing recorded later is taken in.
 * A leap second is the first of the next minute.
 * @returns undefined where the text is no date-time of the years 1 to 9999 (RFC 3339 §5.6)
 */
export function parseInstant(text: string): Instant | undefined {
  const match = RFC3339.exec(text);
  if (match === null) return undefined;
  const [, year, month, day, hour, minute, second, fraction = '', zone = 'Z'] = match as unknown as string[];
  if (Number(hour) > 23 || Number(minute) > 59 || Number(second) > 60) return undefined;
  if (!isDay(Number(year), Number(month), Number(day))) return undefined;
  let offsetMinutes = 0;
  if (zone !== 'Z' && zone !== 'z') {
    const [hours, minutes] = [Number(zone.slice(1, 3)), Number(zone.slice(4, 6))];
    if (hours > 23 || minutes > 59) return undefined;
    offsetMinutes = (zone.startsWith('-') ? -1 : 1) * (hours * 60 + minutes);
  }
  const local = microsecondsOf(`${year}-${month}-${day}T${hour}:${minute}:${second}.${fraction.padEnd(1, '0')}Z`);
  const microseconds = local - BigInt(offsetMinutes) * 60n * SECOND_US;
  return microseconds < FIRST_US || microseconds > LAST_US ? undefined : instantOfMicroseconds(microseconds);
}

function isDay(year: number, month: number, day: number): boolean {
  if (month < 1 || month > 12 || day < 1) return false;
  const leap = (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0;
  return day <= ([31, leap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1] as number);
}
