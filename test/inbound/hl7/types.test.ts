import { describe, expect, test } from '@jest/globals';
import type { Hl7Segment } from '../../../src/inbound/hl7/message.js';
import { readHl7 } from '../../../src/inbound/hl7/reader.js';
import {
  all,
  readCWE,
  readCX,
  readEI,
  readHD,
  readPL,
  readTS,
  readXAD,
  readXCN,
  readXPN,
  readXTN,
} from '../../../src/inbound/hl7/types.js';

function segmentWith(value: string): Hl7Segment {
  return readHl7(Buffer.from(`MSH|^~\\&|A\rZZZ|${value}|`)).segment('ZZZ')!;
}

/** What of a type says something. */
function said(value: object | null | undefined): unknown {
  if (value === undefined || value === null) return value;
  return Object.fromEntries(Object.entries(value as Record<string, unknown>).filter(([, part]) => part !== undefined));
}

describe('types of old and new versions', () => {
  test('CX, and the CK and ST before it', () => {
    expect(readCX(segmentWith('12345'), 1)?.id).toBe('12345');
    expect(said(readCX(segmentWith('12345^6^M11'), 1))).toEqual({ id: '12345', checkDigit: '6' });
    const cx = readCX(segmentWith('1^^^MERCY&1.2&ISO^MR^WEST^20200101^""'), 1)!;
    expect([said(cx.authority), cx.type, said(cx.facility), cx.effective, cx.expires]).toEqual([
      { namespaceId: 'MERCY', universalId: '1.2', universalIdType: 'ISO' },
      'MR',
      { namespaceId: 'WEST' },
      '20200101',
      null,
    ]);
    expect(all(segmentWith('1~~2^^^M'), 1, readCX).map(({ id }) => id)).toEqual(['1', '2']);
  });

  test('XPN, and the PN of one text', () => {
    expect(said(readXPN(segmentWith('OKAFOR'), 1))).toEqual({ family: 'OKAFOR' });
    expect(said(readXPN(segmentWith('van der Berg&van der&Berg^Ada^B C^Jr^Dr^MD^L'), 1))).toEqual({
      family: 'van der Berg',
      ownPrefix: 'van der',
      ownSurname: 'Berg',
      given: 'Ada',
      further: 'B C',
      suffix: 'Jr',
      prefix: 'Dr',
      degree: 'MD',
      use: 'L',
    });
  });

  test('XAD with SAD, and the AD of one line', () => {
    expect(readXAD(segmentWith('1 Main St^Apt 2^Springfield^IL^62701^USA^H'), 1)?.street).toBe('1 Main St');
    expect(readXAD(segmentWith('&Main St&1^^Springfield'), 1)?.street).toBe('1 Main St');
  });

  test('XTN in parts, unformatted, and the TN of one text', () => {
    expect(readXTN(segmentWith('(217)555-0100X12'), 1)?.number).toBe('(217)555-0100X12');
    expect(said(readXTN(segmentWith('^PRN^PH^^1^217^5550100^12'), 1))).toEqual({
      use: 'PRN',
      equipment: 'PH',
      countryCode: '1',
      areaCode: '217',
      local: '5550100',
      extension: '12',
    });
    expect(readXTN(segmentWith('^NET^Internet^ada@example.org'), 1)?.email).toBe('ada@example.org');
    expect(readXTN(segmentWith('^PRN^PH^^^^^^^^^+1 217 555 0100'), 1)?.unformatted).toBe('+1 217 555 0100');
  });

  test('CWE with three codings, CE with two, and text alone', () => {
    expect(readCWE(segmentWith('A^a^L^B^b^LN'), 1)?.codings.map(({ code }) => code)).toEqual(['A', 'B']);
    const three = readCWE(segmentWith('A^a^L^B^b^LN^1^2^seen^C^c^SCT^3^1.2'), 1)!;
    expect(three.codings.map(({ code, version, systemOid }) => [code, version, systemOid])).toEqual([
      ['A', '1', '1.2'],
      ['B', '2', undefined],
      ['C', '3', undefined],
    ]);
    expect([three.originalText, readCWE(segmentWith('^^^^^^^^only'), 1)?.originalText]).toEqual(['seen', 'only']);
  });

  test('HD, EI, PL and XCN', () => {
    expect(said(readHD(segmentWith('MERCY^1.2^ISO'), 1))).toEqual({
      namespaceId: 'MERCY',
      universalId: '1.2',
      universalIdType: 'ISO',
    });
    expect(readEI(segmentWith('F1^LAB^1.2^ISO'), 1)?.authority?.namespaceId).toBe('LAB');
    expect(said(readPL(segmentWith('4E^12^1^MERCY&1.2&ISO'), 1))).toMatchObject({
      pointOfCare: '4E',
      room: '12',
      bed: '1',
    });
    expect(said(readXCN(segmentWith('37^Disney^Walt^^^Dr^^^NPI&2.16&ISO'), 1))).toMatchObject({
      id: '37',
      family: 'Disney',
    });
  });

  test('DTM, and the TS that states its degree of precision', () => {
    const options = { timeZone: 'UTC' };
    expect(readTS(segmentWith('20260301101500.12+0100'), 1, 1, options)?.text).toBe('2026-03-01T10:15:00.12+01:00');
    expect(readTS(segmentWith('20260301101500^D'), 1, 1, options)).toMatchObject({
      text: '2026-03-01',
      precision: 'day',
    });
    expect([readTS(segmentWith('""'), 1, 1, options), readTS(segmentWith('x'), 1, 1, options)]).toEqual([
      null,
      undefined,
    ]);
  });

  test('nothing said is no value', () => {
    for (const read of [readCX, readXPN, readXAD, readXTN, readCWE, readHD, readEI, readPL, readXCN]) {
      expect(read(segmentWith('^^&'), 1)).toBeUndefined();
    }
  });
});
