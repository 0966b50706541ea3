/** Proleptic Gregorian calendar arithmetic on whole numbers. Never a JS Date: it would cut microseconds and map years 0–99 to 1900–1999. */
import type { Instant } from './valid-time.js';

export const SECONDS_PER_DAY = 86_400;

/** Seconds since 1970-01-01T00:00:00Z of 0001-01-01T00:00:00Z, the first second an {@link Instant} can hold. */
export const FIRST_SECOND = daysFromCivil(1, 1, 1) * SECONDS_PER_DAY;
/** Seconds since 1970-01-01T00:00:00Z of 10000-01-01T00:00:00Z, the first second beyond what an {@link Instant} can hold. */
export const END_SECOND = daysFromCivil(10_000, 1, 1) * SECONDS_PER_DAY;

/** Days since 1970-01-01 of a calendar day; months from 1, days from 1. */
export function daysFromCivil(year: number, month: number, day: number): number {
  const shifted = month <= 2 ? year - 1 : year;
  const era = Math.floor(shifted / 400);
  const yearOfEra = shifted - era * 400;
  const dayOfYear = Math.floor((153 * (month > 2 ? month - 3 : month + 9) + 2) / 5) + day - 1;
  const dayOfEra = yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear;
  return era * 146_097 + dayOfEra - 719_468;
}

/** The inverse of {@link daysFromCivil}. */
export function civilFromDays(days: number): { year: number; month: number; day: number } {
  const shifted = days + 719_468;
  const era = Math.floor(shifted / 146_097);
  const dayOfEra = shifted - era * 146_097;
  const yearOfEra = Math.floor(
    (dayOfEra - Math.floor(dayOfEra / 1460) + Math.floor(dayOfEra / 36_524) - Math.floor(dayOfEra / 146_096)) / 365,
  );
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const shiftedMonth = Math.floor((5 * dayOfYear + 2) / 153);
  const month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9;
  return {
    year: yearOfEra + era * 400 + (month <= 2 ? 1 : 0),
    month,
    day: dayOfYear - Math.floor((153 * shiftedMonth + 2) / 5) + 1,
  };
}

const DAYS_OF_MONTH = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] as const;

/** Number of days of a month (1…12) of a year. */
export function daysInMonth(year: number, month: number): number {
  if (month === 2 && year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0)) return 29;
  return DAYS_OF_MONTH[month - 1] ?? 0;
}

/**
 * An instant as text.
 * @param seconds whole seconds since 1970-01-01T00:00:00Z, negative before it
 * @param micros 0…999999, counted forwards from `seconds`
 * @returns undefined outside the years 0001…9999
 */
export function formatInstant(seconds: number, micros: number): Instant | undefined {
  if (seconds < FIRST_SECOND || seconds >= END_SECOND) return undefined;
  const days = Math.floor(seconds / SECONDS_PER_DAY);
  const ofDay = seconds - days * SECONDS_PER_DAY;
  const { year, month, day } = civilFromDays(days);
  return `${pad(year, 4)}-${pad(month, 2)}-${pad(day, 2)}T${pad(Math.floor(ofDay / 3600), 2)}:${pad(Math.floor(ofDay / 60) % 60, 2)}:${pad(ofDay % 60, 2)}.${pad(micros, 6)}Z`;
}

function pad(value: number, width: number): string {
  return String(value).padStart(width, '0');
}

/**
 * Seconds and microseconds of an {@link Instant}.
 * @throws RangeError where the text is not of the fixed form (a programming error: instants are made by this folder only)
 */
export function instantParts(instant: Instant): { seconds: number; micros: number } {
  if (instant.length !== 27 || instant.charCodeAt(26) !== 0x5a) throw new RangeError('not an instant');
  const number = (from: number, to: number): number => {
    let value = 0;
    for (let index = from; index < to; index += 1) {
      const digit = instant.charCodeAt(index) - 48;
      if (digit < 0 || digit > 9) throw new RangeError('not an instant');
      value = value * 10 + digit;
    }
    return value;
  };
  const days = daysFromCivil(number(0, 4), number(5, 7), number(8, 10));
  return {
    seconds: days * SECONDS_PER_DAY + number(11, 13) * 3600 + number(14, 16) * 60 + number(17, 19),
    micros: number(20, 26),
  };
}
