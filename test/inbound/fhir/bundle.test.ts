import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import {
  BundleIncompleteError,
  reassembleBundle,
  splitBundle,
  type SplitBundle,
} from '../../../src/inbound/fhir/bundle.js';
import { cut, elementRanges } from '../../../src/inbound/fhir/json-scanner.js';
import { subjectsOf } from '../../../src/inbound/fhir/subjects.js';
import type { FhirResource } from '../../../src/mapping/content.js';
import { sharedData, sharedFiles } from '../../support/shared-data.js';

function split(bytes: Buffer): SplitBundle | undefined {
  const resource = JSON.parse(bytes.toString('utf8').replace(/^\uFEFF/, '')) as FhirResource;
  return splitBundle(bytes, subjectsOf(resource, { interaction: 'batch' }));
}

function whole(one: SplitBundle): Buffer {
  return reassembleBundle(one, one.parts);
}

/** JSON as another program might write it: white space anywhere, some characters of strings as escapes. */
function writeJson(value: unknown, noise: () => number): string {
  const blank = (): string => ['', '', '', ' ', '\n', '\t', '\r\n  '][noise() % 7] as string;
  const text = (one: string): string =>
    `"${Array.from(
      JSON.stringify(one)
        .slice(1, -1)
        .matchAll(/\\u....|\\.|[\s\S]/g),
      ([unit]) =>
        unit.length === 1 && noise() % 5 === 0 ? `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}` : unit,
    ).join('')}"`;
  const write = (node: unknown): string => {
    if (typeof node === 'string') return text(node);
    if (Array.isArray(node)) return `[${blank()}${node.map(write).join(`${blank()},${blank()}`)}${blank()}]`;
    if (node !== null && typeof node === 'object') {
      const members = Object.entries(node).map(([name, child]) => `${text(name)}${blank()}:${blank()}${write(child)}`);
      return `{${blank()}${members.join(`${blank()},${blank()}`)}${blank()}}`;
    }
    return JSON.stringify(node);
  };
  return blank() + write(value) + blank();
}

const anything = fc.jsonValue({ maxDepth: 3 });
const patientNumber = fc.integer({ min: 0, max: 3 });
const entry = fc.oneof(
  fc.tuple(patientNumber, anything).map(([n, extra]) => ({
    fullUrl: `urn:uuid:p${n}`,
    resource: { resourceType: 'Patient', id: `p${n}`, extra },
  })),
  fc.tuple(patientNumber, fc.constantFrom('urn:uuid:p', 'Patient/p'), anything).map(([n, form, extra]) => ({
    resource: { resourceType: 'Observation', subject: { reference: `${form}${n}` }, extra },
  })),
  anything.map((extra) => ({ resource: { resourceType: 'Organization', extra } })),
  anything,
);
const bundle = fc.record({
  before: anything,
  entry: fc.array(entry, { maxLength: 12 }),
  after: anything,
  noise: fc.array(fc.nat({ max: 1000 }), { minLength: 1, maxLength: 50 }),
});

describe('a bundle about several people', () => {
  it('is given back byte for byte, whatever its white space and escapes', () => {
    let cuts = 0;
    fc.assert(
      fc.property(bundle, ({ before, entry: entries, after, noise }) => {
        let at = 0;
        const text = writeJson(
          { resourceType: 'Bundle', before, type: 'collection', entry: entries, after },
          () => noise[at++ % noise.length] ?? 0,
        );
        const bytes = Buffer.from(text, 'utf8');
        const one = split(bytes);
        if (one === undefined) return;
        cuts += 1;
        expect(whole(one).equals(bytes)).toBe(true);
        // Nobody's part holds an entry of another: each part is whole JSON values only.
        for (const part of one.parts) for (const range of part.ranges) JSON.parse(cut(bytes, [range]).toString('utf8'));
      }),
      { numRuns: 500 },
    );
    expect(cuts).toBeGreaterThan(100);
  });

  it('has the entries of each person in that person’s part, and shared ones in the container', () => {
    const bytes = Buffer.from(
      JSON.stringify({
        resourceType: 'Bundle',
        type: 'transaction',
        entry: [
          { fullUrl: 'urn:uuid:a', resource: { resourceType: 'Patient', name: [{ family: 'Ålesund' }] } },
          { fullUrl: 'http://x.example/fhir/Patient/b', resource: { resourceType: 'Patient', id: 'b' } },
          {
            fullUrl: 'http://x.example/fhir/Observation/1',
            resource: { resourceType: 'Observation', subject: { reference: 'Patient/b' } },
          },
          { resource: { resourceType: 'Condition', subject: { reference: 'urn:uuid:a' } } },
          { resource: { resourceType: 'Practitioner', id: 'dr' } },
          { resource: { resourceType: 'Coverage', beneficiary: { reference: 'Patient/elsewhere' } } },
        ],
      }),
    );
    const one = split(bytes) as SplitBundle;
    expect(one.parts.map((part) => part.ranges.length)).toEqual([2, 2, 1]);
    expect(one.parts[0]?.content.toString()).toContain('Condition');
    expect(one.parts[1]?.content.toString()).toContain('Observation');
    expect(one.parts[2]?.content.toString()).toContain('elsewhere');
    expect(one.content.toString()).toContain('Practitioner');
    expect(one.content.toString()).not.toContain('Ålesund');
  });

  it('has null in place of the entries of a part that is gone, and the others where they were', () => {
    const bytes = Buffer.from(
      '{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Patient","id":"1"}}, {"resource":{"resourceType":"Patient","id":"2"}}]}',
    );
    const one = split(bytes) as SplitBundle;
    expect(() => reassembleBundle(one, one.parts.slice(1))).toThrow(BundleIncompleteError);
    const rest = reassembleBundle(one, one.parts.slice(1), { missing: 'blank' });
    expect(rest.length).toBe(bytes.length);
    expect(JSON.parse(rest.toString())).toEqual({
      resourceType: 'Bundle',
      entry: [null, { resource: { resourceType: 'Patient', id: '2' } }],
    });
  });

  it('refuses pieces that overlap, or that are longer or shorter than their ranges', () => {
    const container = { totalLength: 10, ranges: [[0, 6]] as const, content: Buffer.from('{"a":1') };
    expect(() => reassembleBundle(container, [{ ranges: [[5, 10]], content: Buffer.from('12345') }])).toThrow(
      BundleIncompleteError,
    );
    expect(() => reassembleBundle(container, [{ ranges: [[6, 10]], content: Buffer.from('123') }])).toThrow(
      BundleIncompleteError,
    );
    expect(() => reassembleBundle(container, [{ ranges: [[6, 10]], content: Buffer.from('12345') }])).toThrow(
      BundleIncompleteError,
    );
    expect(() => reassembleBundle(container, [{ ranges: [[6, 12]], content: Buffer.from('123456') }])).toThrow(
      BundleIncompleteError,
    );
  });
});

describe('a bundle about at most one person', () => {
  it('stays whole', () => {
    const sharedOnly = {
      resourceType: 'Bundle',
      type: 'batch',
      entry: [{ resource: { resourceType: 'Organization' } }],
    };
    expect(split(Buffer.from(JSON.stringify(sharedOnly)))).toBeUndefined();
    const one = {
      resourceType: 'Bundle',
      type: 'batch',
      entry: [
        {
          fullUrl: 'urn:uuid:1c1c1c1c-0000-4000-8000-000000000000',
          resource: { resourceType: 'Patient', id: '1c1c1c1c-0000-4000-8000-000000000000' },
        },
        {
          resource: {
            resourceType: 'Observation',
            subject: { reference: 'Patient/1c1c1c1c-0000-4000-8000-000000000000' },
          },
        },
        {
          resource: {
            resourceType: 'Condition',
            subject: { reference: 'urn:uuid:1c1c1c1c-0000-4000-8000-000000000000' },
          },
        },
      ],
    };
    expect(split(Buffer.from(JSON.stringify(one)))).toBeUndefined();
  });

  it('is what every Synthea bundle is', () => {
    if (sharedData() === undefined) return;
    const files = sharedFiles('messages/synthea-r4-smart-sample', ['.json']);
    expect(files.length).toBeGreaterThan(0);
    for (const { bytes } of files) {
      const resource = JSON.parse(bytes.toString('utf8')) as FhirResource;
      const { subjects } = subjectsOf(resource, { interaction: 'batch' });
      expect(subjects.filter((subject) => subject.patient !== undefined).length).toBeLessThanOrEqual(1);
      expect(subjects.length).toBeLessThanOrEqual(1);
    }
  });
});

describe('the scanner', () => {
  it('takes the last of two members of one name, as JSON.parse does, and names written with escapes', () => {
    const bytes = Buffer.from('\uFEFF {"entry":[1],"x":{"entry":[7]},"\\u0065ntry" : [ 2 , "a]\\"," , {} ] }');
    expect(elementRanges(bytes, 'entry')?.map(([start, end]) => bytes.toString('utf8', start, end))).toEqual([
      '2',
      '"a]\\","',
      '{}',
    ]);
  });

  it('finds nothing where there is no such array', () => {
    expect(elementRanges(Buffer.from('[1]'), 'entry')).toBeUndefined();
    expect(elementRanges(Buffer.from('{"entry":{}}'), 'entry')).toBeUndefined();
    expect(elementRanges(Buffer.from('{"a":[]}'), 'entry')).toBeUndefined();
  });
});
