/** One piece of code reads each composite type, whatever the version of the message (HL7 v2.1 to v2.9, chapter 2A). */
import { describe, expect, test } from '@jest/globals';
import type { Hl7Segment } from '../../src/inbound/hl7/message.js';
import { readHl7 } from '../../src/inbound/hl7/reader.js';
import { codeableConcept, cx, ei, list, pl, xad, xcn, xpn, xtn } from '../../src/mapping/hl7v2/datatypes.js';

function segmentWith(value: string): Hl7Segment {
  return readHl7(Buffer.from(`MSH|^~\\&|A\rZZZ|${value}|`)).segment('ZZZ')!;
}

describe('types of old and new versions', () => {
  test('CX, and the CK and ST before it', () => {
    expect(cx(segmentWith('12345'), 1)).toEqual({ value: '12345' });
    expect(cx(segmentWith('12345^6^M11'), 1, 1, { authority: 'H', type: 'MR' })).toMatchObject({
      value: '12345',
      assigner: { display: 'H' },
    });
    expect(cx(segmentWith('1^^^MERCY&1.2&ISO^MR^WEST^20200101^""'), 1)).toMatchObject({
      type: { coding: [{ code: 'MR' }] },
      system: 'urn:oid:1.2',
      value: '1',
      assigner: { display: 'MERCY' },
      period: { start: '2020-01-01' },
    });
    expect(list(segmentWith('1~~2^^^M'), 1, cx)?.map(({ value }) => value)).toEqual(['1', '2']);
  });

  test('XPN, and the PN of one text', () => {
    expect(xpn(segmentWith('OKAFOR'), 1)).toEqual({ family: 'OKAFOR' });
    expect(xpn(segmentWith('van der Berg&van der&Berg^Ada^B C^Jr^Dr^MD^L'), 1)).toEqual({
      use: 'official',
      family: 'van der Berg',
      _family: {
        extension: [
          { url: 'http://hl7.org/fhir/StructureDefinition/humanname-own-prefix', valueString: 'van der' },
          { url: 'http://hl7.org/fhir/StructureDefinition/humanname-own-name', valueString: 'Berg' },
        ],
      },
      given: ['Ada', 'B C'],
      prefix: ['Dr'],
      suffix: ['Jr', 'MD'],
    });
  });

  test('XAD with SAD, and the AD of one line', () => {
    expect(xad(segmentWith('1 Main St^Apt 2^Springfield^IL^62701^USA^H'), 1)).toMatchObject({
      use: 'home',
      line: ['1 Main St', 'Apt 2'],
      city: 'Springfield',
      state: 'IL',
      postalCode: '62701',
      country: 'USA',
    });
    expect(xad(segmentWith('&Main St&1^^Springfield'), 1)).toMatchObject({ line: ['1 Main St'] });
  });

  test('XTN in parts, unformatted, and the TN of one text', () => {
    expect(xtn(segmentWith('(217)555-0100X12'), 1)).toMatchObject({ system: 'phone', value: '(217)555-0100X12' });
    expect(xtn(segmentWith('^PRN^PH^^1^217^5550100^12'), 1)).toMatchObject({
      use: 'home',
      system: 'phone',
      value: '+1 217 5550100 X12',
    });
    expect(xtn(segmentWith('^NET^Internet^ada@example.org'), 1)).toMatchObject({
      system: 'email',
      value: 'ada@example.org',
    });
    expect(xtn(segmentWith('^PRN^PH^^^^^^^^^+1 217 555 0100'), 1)).toMatchObject({ value: '+1 217 555 0100' });
  });

  test('CWE, CE with two codings, and text alone', () => {
    const codes = (value: string) =>
      (codeableConcept(segmentWith(value), 1)?.['coding'] as { code: string }[] | undefined)?.map(({ code }) => code);
    expect(codes('A^a^L^B^b^LN')).toEqual(['A', 'B']);
    expect(codes('A^a^L^B^b^LN^1^2^seen^C^c^SCT^3^1.2')).toEqual(expect.arrayContaining(['A', 'B']));
    expect(codeableConcept(segmentWith('A^a^L^B^b^LN^1^2^seen'), 1)).toMatchObject({ text: 'seen' });
    expect(codeableConcept(segmentWith('^only'), 1)).toMatchObject({ text: 'only' });
  });

  test('EI with its HD, PL and XCN', () => {
    expect(ei(segmentWith('F1^LAB^1.2^ISO'), 1)).toEqual({
      system: 'urn:oid:1.2',
      value: 'F1',
      assigner: { display: 'LAB' },
    });
    expect(pl(segmentWith('4E^12^1^MERCY&1.2&ISO'), 1)).toMatchObject({
      location: { display: '4E 12 1', identifier: { value: '4E^12^1^MERCY' } },
    });
    expect(xcn(segmentWith('37^Disney^Walt^^^Dr^^^NPI&2.16&ISO'), 1)).toMatchObject({
      display: 'Dr Walt Disney',
      identifier: { value: '37', system: 'urn:oid:2.16' },
    });
  });

  test('nothing said is no value', () => {
    for (const read of [cx, xpn, xad, xtn, ei, pl, xcn]) expect(read(segmentWith('^^&'), 1)).toBeUndefined();
  });
});
