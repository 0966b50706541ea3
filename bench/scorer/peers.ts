/** The peers: whose expected outputs stand under `expected/`, and what each says. */
import path from 'node:path';
import { splitMessages } from '../../src/inbound/hl7/batch.js';
import { readHl7 } from '../../src/inbound/hl7/reader.js';
import { isObject, objectsIn } from '../../src/mapping/concepts.js';
import type { JsonObject } from '../../src/mapping/fhir-time.js';
import { parseCsv } from '../../src/text/csv.js';
import { sharedFiles } from '../../test/support/shared-data.js';
import { CLINICAL_TYPES, flattenBundle, type FactSet } from './flatten.js';

export interface Case {
  readonly peer: string;
  readonly name: string;
  /** `ADT^A01` */
  readonly type: string;
  readonly message: Buffer;
  readonly expected: readonly FactSet[];
}

function parsed(bytes: Buffer): JsonObject {
  return JSON.parse(bytes.toString('utf8').replace(/^\uFEFF/, '')) as JsonObject;
}

export function typeOf(message: Buffer): string {
  const { messageCode, triggerEvent } = readHl7(message);
  return [messageCode, triggerEvent]
    .filter((part) => part !== '')
    .join('^')
    .toUpperCase();
}

/** Messages with the bundle a peer expects of each, by the endings of both files. */
function paired(peer: string, part: string, messageEnding: string, bundleEnding: string): Case[] {
  const files = new Map(
    sharedFiles(`expected/${part}`, [messageEnding, bundleEnding]).map(({ name, bytes }) => [name, bytes]),
  );
  const cases: Case[] = [];
  for (const [name, message] of files) {
    if (!name.endsWith(messageEnding)) continue;
    const bundle = files.get(name.slice(0, -messageEnding.length) + bundleEnding);
    if (bundle === undefined) continue;
    cases.push({
      peer,
      name,
      type: typeOf(message),
      message,
      expected: flattenBundle(parsed(bundle), message.toString('utf8')),
    });
  }
  return cases;
}

/** A message of which a peer says only how many resources it becomes. */
export interface CountedCase {
  readonly message: Buffer;
  /** By resource type. */
  readonly counts: Readonly<Record<string, number>>;
}

export function countedCases(): CountedCase[] {
  return sharedFiles('expected/linuxforhealth', ['resource-counts.json']).flatMap(({ bytes }) =>
    (JSON.parse(bytes.toString('utf8')) as { message: string; resourceCounts: Record<string, number> }[]).map(
      (one) => ({
        message: Buffer.from(one.message.replaceAll('\n', '\r')),
        counts: Object.fromEntries(Object.entries(one.resourceCounts).filter(([type]) => CLINICAL_TYPES.has(type))),
      }),
    ),
  );
}

/** HL7 v2 and FHIR of the same step of a client registry's test: twins. */
function twins(): Case[] {
  const files = new Map(
    sharedFiles('expected/santempi-openhie-cr', ['.hl7', '.json']).map(({ name, bytes }) => [
      path.basename(name),
      bytes,
    ]),
  );
  return [...files].flatMap(([name, message]) => {
    const bundle = name.endsWith('.hl7') ? files.get(name.replace('.hl7', '.json')) : undefined;
    if (bundle === undefined) return [];
    const inner = objectsIn(parsed(bundle), 'entry')
      .map((entry) => entry['resource'])
      .find((resource) => isObject(resource) && resource['resourceType'] === 'Bundle');
    const expected = flattenBundle(isObject(inner) ? inner : parsed(bundle), message.toString('utf8'));
    return [{ peer: 'santempi', name, type: typeOf(message), message, expected }];
  });
}

export function cases(): Case[] {
  return [
    ...paired('microsoft', 'microsoft-fhir-converter', '.hl7', '.expected.json'),
    ...paired('cdc', 'cdc-prime-reportstream/mappinginventory', '.hl7', '.fhir.json'),
    ...paired('cdc', 'cdc-prime-reportstream/HL7_to_FHIR', '.hl7', '.fhir'),
    ...twins(),
  ];
}

/** A row of one of the guide's segment maps: a field and the element it becomes. */
export interface GuideRow {
  readonly segment: string;
  readonly field: number;
  /** `participant.individual`; of an extension `extension(patient-religion)`. */
  readonly path: string;
  /** A concept map stands between the field's code and FHIR's. */
  readonly mapped: boolean;
  /** What is written whatever the field holds. */
  readonly constant?: string;
}

/** The guide's segment maps, by resource type. */
export function guideRows(): ReadonlyMap<string, readonly GuideRow[]> {
  const found = new Map<string, GuideRow[]>();
  for (const { name, bytes } of sharedFiles('expected/hl7-v2-to-fhir/segments', ['.csv'])) {
    const type = /_ [A-Z0-9]+\[([A-Za-z]+)/.exec(path.basename(name))?.[1];
    if (type === undefined) continue;
    const rows = found.get(type) ?? [];
    for (const cells of parseCsv(bytes.toString('utf8'))) {
      const place = /^([A-Z][A-Z0-9]{2})-(\d+)$/.exec((cells[1] ?? '').trim());
      const target = pathOf(cells);
      if (place === null || target === undefined) continue;
      const constant = /"([^"]+)"/.exec(cells[16] ?? '')?.[1];
      rows.push({
        segment: place[1]!,
        field: Number(place[2]),
        path: target,
        mapped: (cells[15] ?? '').trim() !== '',
        ...(constant === undefined ? {} : { constant }),
      });
    }
    found.set(type, rows);
  }
  return found;
}

function pathOf(cells: readonly string[]): string | undefined {
  const target = (cells[9] ?? '')
    .trim()
    .replace(/\[[^\]]*\]/g, '')
    .replace(/\(.*$/, '')
    .replace(/\.(url|reference)$/, '');
  if (!/^[a-z][A-Za-z.]*$/.test(target)) return undefined;
  if (!target.includes('extension')) return target;
  const url = /"(http[^"]*)"/.exec(cells.slice(10).join(' '))?.[1];
  return url === undefined ? undefined : `${target}(${url.slice(url.lastIndexOf('/') + 1)})`;
}

/** Every HL7 v2 message of real senders that is at hand. */
export function realMessages(): Buffer[] {
  return sharedFiles('messages', ['.hl7', '.txt', '.out']).flatMap(({ bytes }) =>
    splitMessages(bytes).messages.map((message) => message.bytes),
  );
}
