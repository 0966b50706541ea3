/** Rules of IANA time zones, from the data inside the pinned `moment-timezone` package: the same answer on every machine. */
import moment from 'moment-timezone';
import { SECONDS_PER_DAY } from './calendar.js';

/** Intervals of one offset, in order: interval i ends (exclusive) at `untils[i]`, seconds since 1970; its local time is UTC + `offsets[i]` seconds. */
interface Zone {
  readonly untils: readonly number[];
  readonly offsets: readonly number[];
}

export interface LocalTime {
  /** Seconds since 1970-01-01T00:00:00Z. */
  readonly seconds: number;
  readonly flag?: 'FOLD' | 'GAP';
}

/** The Gregorian calendar repeats, weekdays included, after 400 years. */
const CYCLE_SECONDS = 146_097 * SECONDS_PER_DAY;
/** No zone has ever been further from UTC than this. */
const WIDEST_OFFSET_SECONDS = 16 * 3600;

const zones = new Map<string, Zone | null>();

function zoneOf(name: string): Zone | null {
  let zone = zones.get(name);
  if (zone === undefined) {
    const data = moment.tz.zone(name);
    zone =
      data === null
        ? null
        : {
            untils: data.untils.map((until) => (until === null || until === Infinity ? Infinity : until / 1000)),
            // The package counts minutes west of Greenwich, with fractions for offsets that have seconds.
            offsets: data.offsets.map((minutes) => -Math.round(minutes * 60)),
          };
    zones.set(name, zone);
  }
  return zone;
}

/** Whether the pinned data knows this IANA zone. */
export function isKnownTimeZone(name: string): boolean {
  return zoneOf(name) !== null;
}

/** Version of the zone rules, such as `2026f`. */
export const ZONE_RULES_VERSION: string = moment.tz.dataVersion;

/**
 * The instant of a time on the zone's clock. A time that the clock shows twice is the earlier instant (`FOLD`); one that
 * it never shows is moved forward by the gap (`GAP`), as java.time and PostgreSQL do, but never silently.
 * @param local the clock's reading, counted as if it were UTC: seconds since 1970-01-01T00:00:00
 * @returns undefined for a zone that the data does not know
 */
export function localToInstant(local: number, timeZone: string): LocalTime | undefined {
  const zone = zoneOf(timeZone);
  if (zone === null) return undefined;
  const lastRule = zone.untils.at(-2);
  if (lastRule !== undefined && local > lastRule - SECONDS_PER_DAY && lastRule > CYCLE_SECONDS) {
    // Beyond the last year in the data the rules go on: ask for the same day 400 years (or twice, …) earlier.
    const back = Math.ceil((local - lastRule + 2 * SECONDS_PER_DAY) / CYCLE_SECONDS) * CYCLE_SECONDS;
    const found = search(zone, local - back);
    return { ...found, seconds: found.seconds + back };
  }
  return search(zone, local);
}

function search({ untils, offsets }: Zone, local: number): LocalTime {
  // First interval that ends late enough to hold this local time under any offset.
  let low = 0;
  let high = untils.length - 1;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (untils[middle]! > local - WIDEST_OFFSET_SECONDS) high = middle;
    else low = middle + 1;
  }
  let first: number | undefined;
  let beforeGap = local - offsets[low]!;
  for (let index = low; index < untils.length; index += 1) {
    const start = index === 0 ? -Infinity : untils[index - 1]!;
    const seconds = local - offsets[index]!;
    if (start > local + WIDEST_OFFSET_SECONDS) break;
    if (seconds >= untils[index]!) beforeGap = seconds;
    else if (seconds >= start) {
      if (first !== undefined) return { seconds: first, flag: 'FOLD' };
      first = seconds;
    }
  }
  return first === undefined ? { seconds: beforeGap, flag: 'GAP' } : { seconds: first };
}
