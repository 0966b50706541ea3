/** When what the hub has come to know is shown to analysts. */
import type { Instant } from '../time/valid-time.js';

/** `change`: at once. Else `now` is the state at the last full hour, day, Monday or month (UTC), so that polling shows many changes at once or none. */
export const RELEASE_EVERY = ['change', 'hour', 'day', 'week', 'month'] as const;
export type ReleaseEvery = (typeof RELEASE_EVERY)[number];

/** `yearly`: dated rows show from the first 1 January after their dates; `immediate`: at once, for a site with an expert's determination. */
export type RowRelease = 'yearly' | 'immediate';

const DAY_MS = 86_400_000;

/** The last moment of release at or before a moment. */
export function releasedAt(moment: Instant, every: Exclude<ReleaseEvery, 'change'>): Instant {
  if (every === 'month') return `${moment.slice(0, 7)}-01T00:00:00.000000Z`;
  if (every === 'hour') return `${moment.slice(0, 13)}:00:00.000000Z`;
  const midnight = Date.parse(`${moment.slice(0, 10)}T00:00:00Z`);
  const back = every === 'week' ? (new Date(midnight).getUTCDay() + 6) % 7 : 0;
  return `${new Date(midnight - back * DAY_MS).toISOString().slice(0, 10)}T00:00:00.000000Z`;
}
