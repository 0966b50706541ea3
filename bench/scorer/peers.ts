/** The peers: whose expected outputs stand under `expected/`, and what each says. */
import path from 'node:path';
import { readHl7 } from '../../src/inbound/hl7/reader.js';
import type { JsonObject } from '../../src/mapping/fhir-time.js';
import { parseCsv } from '../../src/text/csv.js';
import { sharedFiles } from '../../test/support/shared-data.js';
import { flattenBundle, type FactSet } from './flatten.js';

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

export function cases(): Case[] {
  return [
    ...paired('microsoft', 'microsoft-fhir-converter', '.hl7', '.expected.json'),
    ...paired('cdc', 'cdc-prime-reportstream/mappinginventory', '.hl7', '.fhir.json'),
    ...paired('cdc', 'cdc-prime-reportstream/HL7_to_FHIR', '.hl7', '.fhir'),
  ];
}

/** Elements that the guide's segment maps write: `Patient.name`, by resource type. */
export function guidePaths(): ReadonlyMap<string, ReadonlySet<string>> {
  const found = new Map<string, Set<string>>();
  for (const { name, bytes } of sharedFiles('expected/hl7-v2-to-fhir/segments', ['.csv'])) {
    const type = /_ [A-Z0-9]+\[([A-Za-z]+)/.exec(path.basename(name))?.[1];
    if (type === undefined) continue;
    const paths = found.get(type) ?? new Set<string>();
    for (const row of parseCsv(bytes.toString('utf8'))) {
      const target = (row[9] ?? '')
        .trim()
        .replace(/\[[^\]]*\]/g, '')
        .replace(/\(.*$/, '')
        .replace(/\.(url|reference)$/, '');
      if (!/^[a-z][A-Za-z.]*$/.test(target)) continue;
      const url = /extension$/.test(target) ? /"(http[^"]*)"/.exec(row.slice(10).join(' '))?.[1] : undefined;
      if (url !== undefined) paths.add(`${target}(${url.slice(url.lastIndexOf('/') + 1)})`);
      else if (!target.includes('extension')) paths.add(target);
    }
    found.set(type, paths);
  }
  return found;
}
