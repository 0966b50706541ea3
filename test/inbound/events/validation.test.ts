import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { isRfc3339, readClinicalEvent } from '../../../src/inbound/events/validation.js';

const GOOD = {
  eventId: '2f1c',
  type: 'patient.attributes',
  ts: '2026-11-20T10:15:00.000001Z',
  patient: {
    identifiers: [{ authority: 'MERCY', value: '12345', type: 'MR' }],
    name: { family: 'Okafor', given: ['Ada'] },
    birthDate: '1984-02-29',
    sex: 'female',
  },
  data: { favoriteColor: 'teal' },
};

function read(value: unknown) {
  return readClinicalEvent(Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)));
}

function problems(value: unknown): [string, string][] {
  const result = read(value);
  return result.state === 'valid' ? [] : result.problems.map(({ code, pointer }) => [code, pointer]);
}

describe('a clinical event', () => {
  it('is taken as the documentation shows it, with everything more that it says', () => {
    expect(read(GOOD)).toEqual({ state: 'valid', event: GOOD });
    const more = { ...GOOD, note: 'kept', patient: { ...GOOD.patient, phone: '1' } };
    expect(read(more)).toEqual({ state: 'valid', event: more });
  });

  it('may have a type that nobody knows, and then be about nobody', () => {
    expect(problems({ ...GOOD, type: 'ward.cleaned', patient: undefined })).toEqual([]);
  });

  it('may name its patient by the sender’s id alone', () => {
    expect(problems({ ...GOOD, patient: undefined, patientId: 'p-1' })).toEqual([]);
  });

  it.each<[string, object, [string, string][]]>([
    ['no id', { eventId: undefined }, [['REQUIRED', '/eventId']]],
    ['an empty id', { eventId: '' }, [['REQUIRED', '/eventId']]],
    ['a number as id', { eventId: 7 }, [['WRONG_TYPE', '/eventId']]],
    ['a long id', { eventId: 'x'.repeat(257) }, [['TOO_LONG', '/eventId']]],
    ['no type', { type: null }, [['REQUIRED', '/type']]],
    ['a type with spaces', { type: 'a b' }, [['WRONG_FORMAT', '/type']]],
    ['no time', { ts: undefined }, [['REQUIRED', '/ts']]],
    ['a time without offset', { ts: '2026-11-20T10:15:00' }, [['WRONG_FORMAT', '/ts']]],
    ['a day that is none', { ts: '2026-02-30T10:15:00Z' }, [['WRONG_FORMAT', '/ts']]],
    ['a date as time', { ts: '2026-11-20' }, [['WRONG_FORMAT', '/ts']]],
    ['no data', { data: undefined }, [['REQUIRED', '/data']]],
    ['a list as data', { data: [] }, [['WRONG_TYPE', '/data']]],
    ['a patient that is a text', { patient: 'Ada' }, [['WRONG_TYPE', '/patient']]],
    ['an empty patient', { patient: {} }, [['PATIENT_REQUIRED', '/patient']]],
    ['no patient', { patient: undefined }, [['PATIENT_REQUIRED', '/patient']]],
    [
      'a birth date that is none',
      { patient: { ...GOOD.patient, birthDate: '1983-02-29' } },
      [['WRONG_FORMAT', '/patient/birthDate']],
    ],
    [
      'an identifier without value',
      { patient: { identifiers: [{ value: '1' }, { authority: 'A' }] } },
      [['REQUIRED', '/patient/identifiers/1/value']],
    ],
    ['an identifier that is a number', { patient: { identifiers: [12] } }, [['WRONG_TYPE', '/patient/identifiers/0']]],
    ['a name that is a text', { patient: { name: 'Ada' } }, [['WRONG_TYPE', '/patient/name']]],
    ['given names as text', { patient: { name: { given: 'Ada' } } }, [['WRONG_TYPE', '/patient/name/given']]],
    ['an empty sender’s id', { patientId: '' }, [['REQUIRED', '/patientId']]],
    ['half a surrogate pair', { data: { a: ['\ud800'] } }, [['FORBIDDEN_CHARACTER', '/data']]],
    ['U+0000 in a name of a member', { data: { 'a\0': 1 } }, [['FORBIDDEN_CHARACTER', '/data']]],
  ])('with %s is invalid', (_, change, expected) => {
    expect(problems({ ...GOOD, ...change })).toEqual(expected);
  });

  it('tells every problem at once', () => {
    expect(problems({ type: 'x' })).toEqual([
      ['REQUIRED', '/eventId'],
      ['REQUIRED', '/ts'],
      ['REQUIRED', '/data'],
    ]);
  });

  it('is no event where it is not JSON, and the place is told', () => {
    const result = readClinicalEvent(Buffer.from('{"eventId": "ä", oops}'));
    expect(result).toEqual({ state: 'invalid', problems: [{ code: 'MALFORMED_JSON', pointer: '', byteOffset: 18 }] });
    expect(readClinicalEvent(Buffer.from('{"a":'))).toMatchObject({
      problems: [{ code: 'MALFORMED_JSON', byteOffset: 5 }],
    });
    expect(readClinicalEvent(Buffer.from([0x7b, 0xff, 0x7d]))).toMatchObject({
      problems: [{ code: 'MALFORMED_JSON' }],
    });
    expect(problems('[]')).toEqual([['NOT_AN_OBJECT', '']]);
  });

  it('is read in linear time however deep it is nested', () => {
    const deep = `{"eventId":"1","data":${'['.repeat(200_000)}${']'.repeat(200_000)}}`;
    expect(problems(deep)).toEqual([['TOO_DEEP', '/data']]);
  });

  it('never throws, and never repeats what was sent', () => {
    const canary = 'Zyxwvut';
    fc.assert(
      fc.property(fc.jsonValue(), fc.constantFrom(...Object.keys(GOOD)), fc.boolean(), (value, member, nested) => {
        const hostile = nested ? { [canary]: value, v: canary } : canary;
        const result = read({
          ...GOOD,
          [canary]: value,
          [member]: hostile,
          patient: { [canary]: hostile, name: { family: { [canary]: 1 } } },
        });
        if (result.state === 'invalid') expect(JSON.stringify(result.problems)).not.toContain(canary);
      }),
    );
    fc.assert(fc.property(fc.uint8Array(), (bytes) => void readClinicalEvent(Buffer.from(bytes))));
  });
});

describe('a time of RFC 3339', () => {
  it.each([
    '2026-11-20T10:15:00Z',
    '2026-11-20T10:15:00.1234567+01:00',
    '2016-12-31T23:59:60Z',
    '2026-11-20t10:15:00z',
    '0001-01-01T00:00:00Z',
  ])('may be %s', (text) => expect(isRfc3339(text)).toBe(true));
  it.each(['2026-11-20T10:15Z', '2026-11-20T25:00:00Z', '2026-11-20T10:15:00+1:00', '20261120T101500Z', '', 12, null])(
    'is not %s',
    (text) => expect(isRfc3339(text)).toBe(false),
  );
});
