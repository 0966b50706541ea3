import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { arrivalTime, parseHl7Time, parseIsoTime, validTime } from '../../src/time/parse.js';
import { isKnownTimeZone } from '../../src/time/zone.js';

const UTC = { timeZone: 'UTC' };
const NEW_YORK = { timeZone: 'America/New_York' };

describe('the clock of a zone', () => {
  test('a local time that stands twice is the earlier instant and flagged FOLD', () => {
    const parsed = parseHl7Time('20261101013000', NEW_YORK);
    expect(parsed?.instant).toBe('2026-11-01T05:30:00.000000Z');
    expect(parsed?.flags).toEqual(['FOLD', 'NO_OFFSET']);
    expect(parseHl7Time('20261101005959', NEW_YORK)?.flags).toEqual(['NO_OFFSET']);
    expect(parseHl7Time('20261101020000', NEW_YORK)).toMatchObject({
      instant: '2026-11-01T07:00:00.000000Z',
      flags: ['NO_OFFSET'],
    });
  });

  test('with an offset both instants of the repeated hour can be said and nothing is flagged', () => {
    expect(parseHl7Time('20261101013000-0400', NEW_YORK)).toMatchObject({
      instant: '2026-11-01T05:30:00.000000Z',
      flags: [],
    });
    expect(parseHl7Time('20261101013000-0500', NEW_YORK)).toMatchObject({
      instant: '2026-11-01T06:30:00.000000Z',
      flags: [],
    });
  });

  test('a local time that stands nowhere is moved forward by the gap and flagged GAP', () => {
    expect(parseHl7Time('20260308023000', NEW_YORK)).toMatchObject({
      instant: '2026-03-08T07:30:00.000000Z',
      text: '2026-03-08T02:30:00',
      flags: ['GAP', 'NO_OFFSET'],
    });
    expect(parseHl7Time('20260308015959', NEW_YORK)?.flags).toEqual(['NO_OFFSET']);
    expect(parseHl7Time('20260308030000', NEW_YORK)).toMatchObject({
      instant: '2026-03-08T07:00:00.000000Z',
      flags: ['NO_OFFSET'],
    });
  });

  test('a gap at midnight moves the start of a date', () => {
    expect(parseHl7Time('20181104', { timeZone: 'America/Sao_Paulo' })).toMatchObject({
      instant: '2018-11-04T03:00:00.000000Z',
      text: '2018-11-04',
      flags: ['GAP', 'NO_OFFSET', 'PARTIAL'],
    });
  });

  test('a whole day that a zone skipped is a gap of a day', () => {
    expect(parseHl7Time('20111230120000', { timeZone: 'Pacific/Apia' })).toMatchObject({
      instant: '2011-12-30T22:00:00.000000Z',
      flags: ['GAP', 'NO_OFFSET'],
    });
  });

  test('historical offsets have seconds', () => {
    expect(parseHl7Time('18800101000000', NEW_YORK)?.instant).toBe('1880-01-01T04:56:02.000000Z');
    expect(parseHl7Time('00010101', { timeZone: 'America/New_York' })?.instant).toBe('0001-01-01T04:56:02.000000Z');
    expect(parseIsoTime('1880-01-01T00:00:00-04:56:02', UTC)?.instant).toBe('1880-01-01T04:56:02.000000Z');
  });

  test('the rules go on beyond the last year of the data', () => {
    expect(parseHl7Time('26000701120000', NEW_YORK)?.instant).toBe('2600-07-01T16:00:00.000000Z');
    expect(parseHl7Time('99990701120000', NEW_YORK)?.instant).toBe('9999-07-01T16:00:00.000000Z');
    expect(parseHl7Time('99990101120000', NEW_YORK)?.instant).toBe('9999-01-01T17:00:00.000000Z');
    expect(parseHl7Time('24991231120000', NEW_YORK)?.instant).toBe('2499-12-31T17:00:00.000000Z');
    expect(parseHl7Time('99990701120000', { timeZone: 'Asia/Tokyo' })?.instant).toBe('9999-07-01T03:00:00.000000Z');
  });

  test('an unknown zone is no time, unless an offset was sent', () => {
    expect(isKnownTimeZone('Mars/Olympus_Mons')).toBe(false);
    expect(parseHl7Time('20260101', { timeZone: 'Mars/Olympus_Mons' })).toBeUndefined();
    expect(parseHl7Time('20260101+0000', { timeZone: 'Mars/Olympus_Mons' })?.instant).toBe(
      '2026-01-01T00:00:00.000000Z',
    );
  });
});

describe('offsets', () => {
  test('the same instant sent as +0100 and as Z is one instant', () => {
    const a = parseHl7Time('20260301111500+0100', NEW_YORK);
    const b = parseIsoTime('2026-03-01T10:15:00Z', NEW_YORK);
    expect(a?.instant).toBe(b?.instant);
    expect([a?.text, b?.text]).toEqual(['2026-03-01T11:15:00+01:00', '2026-03-01T10:15:00Z']);
    expect(a?.hasOffset && b?.hasOffset).toBe(true);
  });

  test('an offset may stand behind any precision of DTM', () => {
    expect(parseHl7Time('20260301+0100', UTC)).toMatchObject({
      instant: '2026-02-28T23:00:00.000000Z',
      text: '2026-03-01+01:00',
    });
    expect(parseHl7Time('2026-0500', UTC)).toMatchObject({ instant: '2026-01-01T05:00:00.000000Z', precision: 'year' });
  });

  test('impossible offsets are refused', () => {
    for (const text of ['20260301101500+2500', '20260301101500+0160', '20260301101500+01', '20260301101500+1600']) {
      expect(parseHl7Time(text, UTC)).toBeUndefined();
    }
  });
});

test('a leap second and 24:00 are the start of the next day', () => {
  expect(parseIsoTime('2016-12-31T23:59:60Z', UTC)).toMatchObject({
    instant: '2017-01-01T00:00:00.000000Z',
    text: '2016-12-31T23:59:60Z',
  });
  expect(parseIsoTime('2017-01-01T05:29:60+05:30', UTC)?.instant).toBe('2017-01-01T00:00:00.000000Z');
  expect(parseIsoTime('2016-12-31T22:59:60Z', UTC)).toBeUndefined();
  expect(parseHl7Time('20161231235960', NEW_YORK)?.instant).toBe('2017-01-01T05:00:00.000000Z');
  expect(parseHl7Time('202602282400', UTC)).toMatchObject({
    instant: '2026-03-01T00:00:00.000000Z',
    text: '2026-02-28T24:00',
  });
  expect(parseHl7Time('2026022824', UTC)?.instant).toBe('2026-03-01T00:00:00.000000Z');
  expect(parseHl7Time('20260228240001', UTC)).toBeUndefined();
  expect(parseHl7Time('20260228240000.1', UTC)).toBeUndefined();
  expect(parseHl7Time('20260228235961', UTC)).toBeUndefined();
});

test.each([
  ['2026', '2026', 'year', '2026-01-01T00:00:00.000000Z'],
  ['202603', '2026-03', 'month', '2026-03-01T00:00:00.000000Z'],
  ['20260301', '2026-03-01', 'day', '2026-03-01T00:00:00.000000Z'],
  ['2026030114', '2026-03-01T14', 'hour', '2026-03-01T14:00:00.000000Z'],
  ['202603011415', '2026-03-01T14:15', 'minute', '2026-03-01T14:15:00.000000Z'],
  ['20260301141530', '2026-03-01T14:15:30', 'second', '2026-03-01T14:15:30.000000Z'],
  ['20260301141530.1234', '2026-03-01T14:15:30.1234', 'fraction', '2026-03-01T14:15:30.123400Z'],
])('%s keeps its precision', (sent, text, precision, instant) => {
  const parsed = parseHl7Time(sent, UTC);
  expect(parsed).toMatchObject({ text, precision, instant, hasOffset: false });
  expect(parsed?.flags.includes('PARTIAL')).toBe(!['second', 'fraction'].includes(precision));
  expect(parseIsoTime(text, UTC)).toEqual(parsed);
});

test('the degree of precision of the old TS limits what the digits say', () => {
  expect(parseHl7Time('200601011200^D', UTC)).toMatchObject({ text: '2006-01-01', precision: 'day' });
  expect(parseHl7Time('20060315^L', UTC)).toMatchObject({ text: '2006-03', precision: 'month' });
  expect(parseHl7Time('20060315^S', UTC)).toMatchObject({ text: '2006-03-15', precision: 'day' });
  expect(parseHl7Time('20060315^', UTC)).toMatchObject({ text: '2006-03-15' });
  expect(parseHl7Time('20060315^Q', UTC)).toBeUndefined();
});

test('digits beyond microseconds are cut, not rounded', () => {
  expect(parseHl7Time('20260301101530.1234567', UTC)?.instant).toBe('2026-03-01T10:15:30.123456Z');
  expect(parseIsoTime('2026-12-31T23:59:59.9999999Z', UTC)).toMatchObject({
    instant: '2026-12-31T23:59:59.999999Z',
    text: '2026-12-31T23:59:59.9999999Z',
  });
});

test('the years 0001 to 9999 are held and nothing beyond them', () => {
  expect(parseHl7Time('00010101', UTC)?.instant).toBe('0001-01-01T00:00:00.000000Z');
  expect(parseHl7Time('99991231235959.999999', UTC)?.instant).toBe('9999-12-31T23:59:59.999999Z');
  expect(parseHl7Time('9999123124', UTC)).toBeUndefined();
  expect(parseHl7Time('00010101+0100', UTC)).toBeUndefined();
  expect(parseHl7Time('0000', UTC)).toBeUndefined();
  expect(parseHl7Time('19000101', UTC)?.instant).toBe('1900-01-01T00:00:00.000000Z');
});

test.each([
  '',
  ' ',
  '""',
  '20260',
  '2026030',
  '20261301',
  '20260230',
  '20230229',
  '00000000',
  '19162429',
  'yesterday',
  '10000-01-01',
  '-2026',
  '20260301T101500',
  '202603011060',
  '2026030125',
  '20260301101530.',
  '202603011015.5',
  'infinity',
  '2026-02-30',
  '٢٠٢٦',
])('%j is not a time', (text) => {
  expect(parseHl7Time(text, UTC)).toBeUndefined();
  expect(parseIsoTime(text, UTC)).toBeUndefined();
});

test('ISO forms in HL7 fields are read, HL7 forms in ISO fields are not', () => {
  expect(parseHl7Time(' 2026-03-01T10:15:30Z ', UTC)?.text).toBe('2026-03-01T10:15:30Z');
  expect(parseHl7Time('2026-03-01 10:15', UTC)?.text).toBe('2026-03-01T10:15');
  expect(parseIsoTime('20260301', UTC)).toBeUndefined();
});

test('valid time carries what was said, arrival says so', () => {
  const parsed = parseHl7Time('20260301', UTC);
  expect(parsed && validTime(parsed, 'EVN-6')).toEqual({
    instant: '2026-03-01T00:00:00.000000Z',
    text: '2026-03-01',
    field: 'EVN-6',
    flags: ['NO_OFFSET', 'PARTIAL'],
  });
  expect(arrivalTime('2026-03-01T00:00:00.000001Z')).toMatchObject({ field: 'ARRIVAL', flags: ['ARRIVAL'] });
});

describe('properties', () => {
  test('no text makes it throw, and what it gives has the fixed form', () => {
    const pieces = fc.constantFrom(
      '2026',
      '03',
      '1',
      '-',
      'T',
      ':',
      '.',
      '+',
      '0100',
      'Z',
      '^',
      'D',
      '60',
      '24',
      '٣',
      ' ',
      '\0',
    );
    const text = fc.oneof(
      fc.string(),
      fc.array(pieces, { maxLength: 14 }).map((all) => all.join('')),
    );
    fc.assert(
      fc.property(text, fc.constantFrom('UTC', 'America/New_York', 'Nowhere'), (sent, timeZone) => {
        for (const parsed of [parseHl7Time(sent, { timeZone }), parseIsoTime(sent, { timeZone })]) {
          if (parsed !== undefined) expect(parsed.instant).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
        }
      }),
    );
  });

  test('with an offset the instant is the one a JS Date gives, at the milliseconds a Date has', () => {
    const stamp = fc.integer({ min: Date.UTC(1000, 0, 1), max: Date.UTC(9998, 0, 1) });
    fc.assert(
      fc.property(stamp, fc.integer({ min: -12 * 60, max: 14 * 60 }), (millis, offset) => {
        const local = new Date(millis + offset * 60_000).toISOString().slice(0, -1);
        const size = Math.abs(offset);
        const sign = offset < 0 ? '-' : '+';
        const zone = `${sign}${String(Math.floor(size / 60)).padStart(2, '0')}${String(size % 60).padStart(2, '0')}`;
        const sent = local.replaceAll(/[-T:]/g, '') + zone;
        expect(parseHl7Time(sent, UTC)?.instant).toBe(new Date(millis).toISOString().replace('Z', '000Z'));
      }),
    );
  });

  test('a local time read in a zone shows that time on the clock again, or is flagged GAP', () => {
    const zones = fc.constantFrom(
      'America/New_York',
      'Europe/Berlin',
      'Australia/Lord_Howe',
      'Asia/Kathmandu',
      'Africa/Casablanca',
    );
    const stamp = fc.integer({ min: Date.UTC(1975, 0, 1), max: Date.UTC(2036, 0, 1) });
    fc.assert(
      fc.property(stamp, zones, (millis, timeZone) => {
        const wall = new Date(Math.floor(millis / 1000) * 1000).toISOString().slice(0, 19);
        const parsed = parseIsoTime(wall, { timeZone })!;
        const shown = new Intl.DateTimeFormat('sv-SE', { timeZone, dateStyle: 'short', timeStyle: 'medium' })
          .format(new Date(parsed.instant))
          .replace(' ', 'T');
        if (!parsed.flags.includes('GAP')) expect(shown).toBe(wall);
        else expect(shown > wall).toBe(true);
      }),
      { numRuns: 300 },
    );
  });
});
